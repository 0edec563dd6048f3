// SPDX-License-Identifier: Apache-2.0
//
// user.h: what the service knows of one user. Plain data under its mutex; core.h says who changes
// it when.
//
//            create, restart
//   absent ──────────────────▶ live ──┐ operations go straight to the backend
//      ▲                        │     ┘
//      └── stop, destroy, idle ─┘ ◀── CSB_E_GONE, CSB_E_NO_SANDBOX
//
// `control` is the one life-cycle step under way; while there is one, and behind every life-cycle
// operation, what comes waits in `queue` in the order it came.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/identity.h"
#include "host/base/timers.h"

namespace csb::host {

class Operation;

enum class Control : uint8_t {
  kNone,
  kResolving,  // waits for probes and lists; the sandbox is not touched yet
  kRunning,    // a create, stop, restart or destroy is at the backend
};

struct User {
  explicit User(std::string user) : id(std::move(user)), name(EngineName(id)) {}

  const std::string id;    // exact
  const std::string name;  // for logs and files

  std::mutex mutex;
  bool dead = false;    // was forgotten: look it up again
  bool loaded = false;  // the record was read

  bool live = false;
  bool slot = false;        // counts against max_sandboxes
  int backend = -1;         // index, while live
  uint64_t generation = 0;  // of the live sandbox; rises as one begins and as it ends
  std::string member;       // the member of a cluster that the metrics count the live sandbox on
  std::string pin;          // the backend that holds the files, loaded or not; empty: none
  std::vector<int> listed;  // backends whose list had the user
  // Backends whose copy of the files is not the user's; record.h.
  std::string moved_from, moving_to;
  uint64_t revision = 0;  // of what the record said of these and of the pin

  Control control = Control::kNone;
  std::deque<std::shared_ptr<Operation>> queue;
  std::vector<Operation*> running;  // at the backend

  uint64_t spared = 0;  // the opening of the breaker in which its sandbox kept a call waiting, too

  Timers::Clock::time_point last_active{};
  Timers::Id idle_timer = 0;

  int64_t created_ms = 0, last_used_ms = 0;
  uint64_t execution_count = 0;
  bool destroyed = false;  // the sandbox was, and its files are kept; see Core::WasDestroyed
  bool dirty = false;      // queued to be written
  bool saving = false;     // being written: what is on disk is older
  bool kept = true;        // what is on disk names the backend that is known here: the last write worked

  bool Blank() const {
    return !live && !slot && control == Control::kNone && queue.empty() && running.empty() && !dirty &&
           !saving && (kept || pin.empty());
  }
};

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
//
// endpoint.h: one user at one backend, as who moves files sees it: operations that are waited for.
//
//   Stopper stopper;
//   Endpoint docker(*instance, timers, "alice", stopper);
//   auto info = docker.Do(CSB_OP_CREATE, "{}", 60s);
//   auto text = docker.RunPython("print(1)", 60s);     // "1\n"
//   if (auto s = CopyPiece(docker, incus, piece); !s) return s.error();
//
// No member is called from a callback. Different threads may use one endpoint at a time each. Stopper::Stop
// ends what is under way, and everything later at once, with CSB_E_CANCELLED; what clears up after that is
// asked with kAnyway.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/operation.h"
#include "host/base/timers.h"
#include "host/plugin/instance.h"

namespace csb::host {

class Stopper {
 public:
  void Stop();  // [any]
  bool stopped() const;
  // Runs `cancel` at Stop, at once if it was; not after the object is gone.
  class Hook {
   public:
    Hook(Stopper& stopper, std::function<void()> cancel);
    ~Hook();
    Hook(const Hook&) = delete;
    Hook& operator=(const Hook&) = delete;

   private:
    Stopper& stopper_;
    uint64_t id_;
  };

 private:
  mutable std::mutex mutex_;
  bool stopped_ = false;
  uint64_t next_ = 0;
  std::map<uint64_t, std::function<void()>> hooks_;
};

enum class When : uint8_t { kUnlessStopped, kAnyway };

class Endpoint {
 public:
  Endpoint(BackendInstance& backend, Timers& timers, std::string user, Stopper& stopper)
      : backend_(backend), timers_(timers), user_(std::move(user)), stopper_(stopper) {}

  const std::string& name() const { return backend_.name(); }
  // The JSON result; errors name the backend.
  Result<std::string> Do(uint32_t op, std::string_view payload, std::chrono::milliseconds limit,
                         When when = When::kUnlessStopped);
  // What the code writes to stdout, at most 4 MiB. One that ends with another code than 0 is an error with
  // what it wrote to stderr.
  Result<std::string> RunPython(const std::string& code, std::chrono::milliseconds limit,
                                When when = When::kUnlessStopped);

  // none: no files and no sandbox there. Errors: it cannot be told.
  enum class State : uint8_t { kNone, kStopped, kRunning };
  Result<State> Look(When when = When::kUnlessStopped);
  Status Stop(When when = When::kUnlessStopped);
  Status Purge();  // everything that the user has there; anyway

 private:
  friend Status CopyPiece(Endpoint& from, Endpoint& to, const struct Piece& piece);
  Error Named(Error error) const;

  BackendInstance& backend_;
  Timers& timers_;
  const std::string user_;
  Stopper& stopper_;
};

struct Piece {
  std::string from, to;             // paths
  uint64_t offset = 0, length = 0;  // of `from`
  bool whole = false;               // `from` has just this
};

// Reads it there and writes it here, with no more than a window of it in memory. CSB_E_CONFLICT when there is
// less than `length`: the file changed.
Status CopyPiece(Endpoint& from, Endpoint& to, const Piece& piece);

}  // namespace csb::host

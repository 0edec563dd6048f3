// SPDX-License-Identifier: Apache-2.0
//
// subscriptions.h: files that clients want to hear of. A backend tells of no change, and asking again and
// again would keep a sandbox busy that nobody uses; so each is looked at when a call of its user has ended,
// which is when an assistant's own work shows. What a background program changes is told with the next call.
//
//   subscriptions->Watch({.user = "alice", .path = "/workspace/a", .uri = uri, .tell = …}, [] {
//   Acknowledge(); }); subscriptions->CallEnded("alice");
//
// Threads: all functions from any. `tell` and `ready` come on any thread, with no lock held.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/service_client.h"

namespace csb::mcp {

class Subscriptions : public std::enable_shared_from_this<Subscriptions> {
 public:
  static constexpr size_t kMost = 4096, kMostOfUser = 128;  // files that are watched

  struct File {
    const void* owner = nullptr;  // who watches it: one session or request
    std::string user, path;
    std::string uri;                                 // as the client wrote it
    std::function<bool(std::string_view uri)> tell;  // false: nobody listens any more
  };

  explicit Subscriptions(ServiceClient service) : service_(service) {}

  // ready: its state is known, so that every later change is told. False: too many are watched; `ready` is
  // not called then.
  bool Watch(File file, std::function<void()> ready);
  // uri empty: all of that owner.
  void Drop(const void* owner, std::string_view uri = {});
  // A tool's call of that user is answered: looks at the user's files.
  void CallEnded(std::string_view user);

 private:
  struct Watched {
    File file;
    std::string state;  // "" before the first look
    std::function<void()> ready;
    bool looking = false, again = false;
  };
  class Look;

  void LookAt(uint64_t id);
  void Looked(uint64_t id, std::string state);

  const ServiceClient service_;
  std::mutex mutex_;
  std::map<uint64_t, Watched> files_;
  uint64_t last_ = 0;
};

}  // namespace csb::mcp

// SPDX-License-Identifier: Apache-2.0
//
// links.h: the addresses of a service: which one serves a user, what each offers, which are down.
//
//   links->Find("alice", [](Result<Link*> link) { … });        // soon; on the reactor's thread or the
//   caller's links->Learn(**link, [](Status known) { … }); HttpRequest request = links->Prepare(**link,
//   mapped.http);
//
// A user stays at the address that ranking.h finds. When that one is down, another serves only if it says
// that it has the user's sandbox, or if all addresses share an engine (remote.shared): nobody is ever handed
// an empty sandbox while files are elsewhere. Threads: all functions from any thread, but for Close: not the
// reactor's.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "plugins/common/http_client.h"
#include "plugins/remote/options.h"
#include "plugins/remote/peer.h"

namespace csb::remote {

class Caller;

// One address. Lives as long as the Links.
struct Link {
  Address address;
  std::unique_ptr<HttpClient> client;  // until Close

  std::mutex mutex;  // of what follows
  bool learned = false;
  Peer peer;
  std::string instance;  // of the service's process; "" where it tells none
  Reactor::Clock::time_point down_until{}, silent_until{};
  struct Out {
    std::weak_ptr<Caller> caller;
    Reactor::Clock::time_point since;
  };
  std::unordered_map<const Caller*, Out> out;  // requests that have no answer yet
  bool watched = false;

  const std::string& where() const { return address.text; }
  Peer Offers() {
    const std::lock_guard lock(mutex);
    return peer;
  }
  std::string Instance() {
    const std::lock_guard lock(mutex);
    return instance;
  }
  bool IsDown() {
    const std::lock_guard lock(mutex);
    return Reactor::Clock::now() < down_until;
  }
  // It did not answer a moment ago: not worth another wait.
  bool IsSilent() {
    const std::lock_guard lock(mutex);
    return Reactor::Clock::now() < silent_until;
  }
  void MarkDown();
  void MarkUp();
};

class Links : public std::enable_shared_from_this<Links> {
 public:
  static Result<std::shared_ptr<Links>> Create(Reactor& reactor, const Options& options);
  // Ends every call. Nothing is sent afterwards.
  void Close();
  bool closed() const { return closed_; }

  void Find(const std::string& user, std::function<void(Result<Link*>)> found);
  // What the address offers, asked for once. again: also when it is known.
  void Learn(Link& link, bool again, std::function<void(Status)> known);
  // From when a request is sent until it is answered. A service of ours that has left one waiting for some
  // seconds is asked whether it is there at all; one that is not loses all of them (Caller::Lose), so that
  // nobody waits for the end of a long run in vain. Others may answer nothing while they run code.
  void Watch(Link& link, const std::shared_ptr<Caller>& caller);
  void Unwatch(Link& link, const Caller& caller);
  // With the base of the address, the key, and bounds that hold for every answer.
  HttpRequest Prepare(const Link& link, HttpRequest request) const;

  Reactor& reactor() { return reactor_; }
  const Options& options() const { return options_; }
  std::vector<Link*> all();

 private:
  Links(Reactor& reactor, Options options) : reactor_(reactor), options_(std::move(options)) {}
  struct Search;
  // Asks the addresses of the search, from `next` on, whether they have the user.
  void Ask(std::shared_ptr<Search> search);
  void Keep(const std::string& user, size_t index);
  void ArmWatch(Link& link);
  void LookAfter(Link& link);
  void LoseAll(Link& link);

  Reactor& reactor_;
  const Options options_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<std::string> names_;
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  std::unordered_map<std::string, size_t> homes_;  // of users that were found; only with several addresses
};

}  // namespace csb::remote

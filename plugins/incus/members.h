// SPDX-License-Identifier: Apache-2.0
//
// members.h: what this host knows of the cluster's members: which there are, how full they are, and which do
// not answer. A user's call never waits for a member that is known to be silent: it gets an error at once.
//
//   Members members({.list = …, .load = …, .ping = …, .post = …, .after = …});
//   if (auto error = members.Down("m2")) return *error;      // any thread, never blocks
//   auto reserved = members.Reserve(rule);                   // worker; chooses and counts in one step
//   … create on reserved->member() …  reserved->End(created);
//   members.Suspect("m2", "exec timed out");                 // whoever noticed it first
//
// A member is silent from Suspect, or since the cluster calls it offline, until a ping of it succeeds: one
// ping at a time, each at most kPingLimit, about one a second, however many users wait for it. One whose load
// can't be read is pinged once before it is called silent. The list of members is read when a create wants a
// newer one (kFresh) or on Refresh (an event of the cluster), never otherwise. One that calls all members
// offline, whoever gave it too, tells only that the database was out of reach. Thread-safe. The functions are
// called without a lock held; list, load and ping block and are called on post's threads, list also on that
// of Reserve and Candidates.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/placement.h"

namespace csb::incus {

class Members {
  struct Impl;

 public:
  using Clock = std::chrono::steady_clock;
  using Limit = std::chrono::milliseconds;

  struct Functions {
    std::function<Result<std::vector<MemberInfo>>()> list;
    std::function<Result<MemberLoad>(const std::string& member)> load;
    // Whether calls to sandboxes on it would work again; at most limit. That its API answers is not enough:
    // when a network is back, Incus answers for a member within a second and hangs in exec for ten more. So:
    // run something in an instance there, if there is one.
    std::function<Status(const std::string& member, Limit limit)> ping;
    std::function<Status(std::function<void()>)> post;        // to a worker
    std::function<void(Limit, std::function<void()>)> after;  // a timer; the function may be dropped
    std::function<Clock::time_point()> now = [] { return Clock::now(); };
    // A member answers again; on the pinging thread. May be empty.
    std::function<void(const std::string& member)> on_back = nullptr;
    // One is silent from now on; on the thread of Suspect or of a list. May be empty.
    std::function<void(const std::string& member)> on_silent = nullptr;
  };

  // A create that is under way, counted on its member until this goes.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept = default;
    Reservation& operator=(Reservation&& other) noexcept;
    ~Reservation() { Release(); }
    const std::string& member() const { return member_; }
    // created: a sandbox more there. Else the create failed for the member's sake, and it is less liked for a
    // while (kRemember). Not called: given up for a reason that says nothing of the member.
    void End(bool created);

   private:
    friend class Members;
    Reservation(std::shared_ptr<Impl> impl, std::string member)
        : impl_(std::move(impl)), member_(std::move(member)) {}
    void Release();
    std::shared_ptr<Impl> impl_;
    std::string member_;
  };

  explicit Members(Functions functions);
  // Waits for the functions that run, kPingLimit or a list at most; none is called after it.
  ~Members();
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  // The error for calls to a sandbox on this member while the member does not answer. Of a server outside a
  // cluster ("" or "none") never: that one is the engine.
  std::optional<Error> Down(const std::string& member) const;
  // Since when that is so. What was heard of a sandbox there later shows that its channel is not concerned.
  std::optional<Clock::time_point> SilentSince(const std::string& member) const;
  // A request to it hung or was refused for its sake; why: for the message. Once is enough.
  void Suspect(const std::string& member, const std::string& why);
  // It answered just now.
  void Clear(const std::string& member);

  // Chooses a member and counts the create on it, so that creates of this host that come together see each
  // other. Reads the list first if it is older than kFresh; blocks for that. seed: chance.
  Result<Reservation> Reserve(const PlacementRule& rule, uint64_t seed);
  // All that is known, for explain and probes; the list not older than max_age.
  Result<std::vector<Candidate>> Candidates(Limit max_age);
  // The list has changed: read again soon, on a worker. Many calls are one.
  void Refresh();

  // Sandboxes of the installation by member, whoever made them, as the engine has them: what End counted
  // since the last time is in it.
  void SetCounts(const std::map<std::string, uint64_t>& sandboxes);

  static constexpr Limit kFresh{10'000};     // age of the list that creates put up with
  static constexpr Limit kPingLimit{1'500};  // of one ping
  static constexpr Limit kPingEvery{1'000};  // between the starts of two
  static constexpr Limit kPingRest{200};     // from the end of one that hung to the next
  static constexpr Limit kTrust{30'000};     // how long an answer counts more than the cluster's "Offline"
  static constexpr Limit kAgain{
      10'000};  // silent again so soon: its pings alone are not believed for a while
  static constexpr Limit kMostHold{16'000};     // 2 s, 4 s, … that long at most
  static constexpr Limit kRefreshEvery{1'000};  // the list for Refresh, however often it is called
  static constexpr Limit kRemember{60'000};     // a failed create
  static constexpr Limit kStale{120'000};       // a list that old is no answer any more when a new one fails
  static constexpr size_t kPings = 4;           // at once, of as many members
  static constexpr size_t kLoads = 16;          // read after each list, the oldest first

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::incus

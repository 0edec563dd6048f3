// SPDX-License-Identifier: Apache-2.0
//
// cluster.h: the members of the server's cluster as sandboxes need them: where to make one, and whether the
// one that has a user's files answers. Outside a cluster every member is "" and nothing is asked.
//
//   auto place = cluster.Place(limits, "");
//   if (!place) return place.error();
//   … create on place->member() …  place->End(true);
//   if (const auto down = cluster.Down(record.member)) return *down;
//
// Thread-safe. Place blocks; Down and Suspect never do.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/common/lifeline.h"
#include "plugins/common/reactor.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/members.h"
#include "plugins/incus/names.h"
#include "plugins/incus/options.h"

namespace csb::incus {

class Cluster {
 public:
  // on_silent: Members::Functions has it; not called once this goes.
  Cluster(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
          std::function<void(const std::string& member)> on_silent = nullptr);
  ~Cluster();

  // A create that is under way on a member, counted there as long as it lives.
  class Making {
   public:
    const std::string& member() const { return member_; }
    void End(bool created) {
      if (reservation_) reservation_->End(created);
    }

   private:
    friend class Cluster;
    std::string member_;
    std::optional<Members::Reservation> reservation_;
  };
  // fixed: the member that has the user's files; "": any.
  Result<Making> Place(const Limits& limits, const std::string& fixed);
  std::optional<Error> Down(const std::string& member) const;
  std::optional<Members::Clock::time_point> SilentSince(const std::string& member) const;
  void Suspect(const std::string& member, const std::string& why);
  // An error of something on that member: whether it is the member's is seen from the words.
  void Note(const std::string& member, const Error& error);
  bool Evacuated(const std::string& member);
  // The list of members has changed, and is read now; blocks.
  void LookAgain();
  // It may have changed.
  void Refresh();
  // What other hosts have made is read from the engine: now, or with the next creates.
  void CountAgain();

 private:
  Result<bool> Clustered();

  const HostRef host_;
  Reactor& reactor_;
  Engine& engine_;
  const Options& options_;
  const Names& names_;
  const std::shared_ptr<Lifeline<Cluster>> line_;
  std::unique_ptr<Members> members_;
  std::atomic<int64_t> counted_ms_{0};  // when, by host_.NowNs()
};

}  // namespace csb::incus

// SPDX-License-Identifier: Apache-2.0
//
// pool.h: instances that run already, with an empty workspace and nobody's name, for users who come for the
// first time. One belongs to the host process that made it and is given out at most once; what a host leaves
// behind when it is killed is removed by the next (sweeper.h), never given out.
//
//   if (auto ready = pool.Take(limits, image)) …     // the caller writes down whose it is, or gives it back
//   pool.Refill();                                   // a worker: one instance at a time
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/incus/cluster.h"
#include "plugins/incus/launcher.h"

namespace csb::incus {

struct Pooled {
  std::shared_ptr<Sandbox> sandbox;
  std::string instance;         // name
  std::string storage, volume;  // of the workspace
};

class Pool {
 public:
  Pool(HostRef host, Launcher& launcher, Engine& engine, Cluster& cluster, const Options& options,
       const Names& names, std::string host_id);
  ~Pool();
  // Gives none out any more, waits for a refill that is under way, removes what is left. Blocks.
  void Stop();

  // Nothing when none fits: other limits, another image, none ready.
  std::unique_ptr<Pooled> Take(const Limits& limits, const std::string& image);
  // One that was taken for somebody who has a sandbox already.
  void PutBack(std::unique_ptr<Pooled> pooled);
  // Removes it and its workspace. False: some of it may be there still; a sweep finds it by its name.
  bool Discard(const Pooled& pooled);
  // Makes what is missing, while no create of a user is under way and the count allows; blocks.
  void Refill();
  // The image's name means something else now, or one of them ended: what does not fit any more is removed.
  void Check();
  // Of what is made from now on; called when one that is ready ends (Check looks after it). It must not look
  // at live(), which a claim changes.
  void SetLostHandler(Sandbox::OnLost on_lost) { on_lost_ = std::move(on_lost); }
  size_t size() const;
  bool wanted() const { return options_.pool_size > 0; }

  // Held while a user's create talks to the engine: refilling waits.
  class Busy {
   public:
    explicit Busy(Pool& pool);
    ~Busy();
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    Pool& pool_;
  };
  // One place is needed for a user (Busy is held): gives up a pooled instance when all places are taken.
  void MakeRoom();

 private:
  std::unique_ptr<Pooled> Make();
  std::optional<bool> Room(int64_t more = 0);

  const HostRef host_;
  Launcher& launcher_;
  Engine& engine_;
  Cluster& cluster_;
  const Options& options_;
  const Names& names_;
  const std::string host_id_;
  Sandbox::OnLost on_lost_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::deque<std::unique_ptr<Pooled>> ready_;
  uint64_t next_ = 0;
  int busy_ = 0;
  bool filling_ = false, stopping_ = false;
  bool making_ = false;  // one that may not be in the engine's list yet
};

}  // namespace csb::incus

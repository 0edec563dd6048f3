// SPDX-License-Identifier: Apache-2.0
//
// pool.h: instances that run already, with an empty workspace and nobody's name, for users who come for the
// first time (warm_pool.h says when one is made and goes).
//
//   if (auto ready = pool.Take(limits, image)) …     // the caller writes down whose it is, or gives it back
//   pool.Refill();                                   // a worker: one instance at a time
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/common/warm_pool.h"
#include "plugins/incus/cluster.h"
#include "plugins/incus/launcher.h"

namespace csb::incus {

struct Pooled {
  std::shared_ptr<Sandbox> sandbox;
  std::string instance;         // name
  std::string storage, volume;  // of the workspace
};

class Pool : public WarmPool<Pooled> {
 public:
  Pool(HostRef host, Launcher& launcher, Engine& engine, Cluster& cluster, const Options& options,
       const Names& names, std::string host_id);
  ~Pool() override { Stop(); }

  // Nothing when none fits: other limits, another image, none ready.
  std::unique_ptr<Pooled> Take(const Limits& limits, const std::string& image);
  bool Discard(const Pooled& pooled) override;

 private:
  std::unique_ptr<Pooled> Make() override;
  std::optional<bool> Room(int64_t more) override;
  void Announce(const Pooled& pooled) override;
  std::function<bool(const Pooled&)> StaleNow() override;

  const HostRef host_;
  Launcher& launcher_;
  Engine& engine_;
  Cluster& cluster_;
  const Options& options_;
  const Names& names_;
  const std::string host_id_;
};

}  // namespace csb::incus

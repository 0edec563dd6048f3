// SPDX-License-Identifier: Apache-2.0
//
// pool.h: containers that run already, with an empty workspace and nobody's name, for users who come for the
// first time (warm_pool.h says when one is made and goes).
//
//   if (auto ready = pool.Take(limits, image)) …     // the caller renames it, or discards it
//   pool.Refill();                                   // a worker: one container at a time
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/common/warm_pool.h"
#include "plugins/docker/launcher.h"
#include "plugins/docker/sandbox.h"

namespace csb::docker {

struct Pooled {
  std::shared_ptr<Sandbox> sandbox;
  std::string container, slot;  // names
  std::string volume, folder;   // of the workspace
};

class Pool : public WarmPool<Pooled> {
 public:
  Pool(HostRef host, Launcher& launcher, Engine& engine, const Options& options, const Names& names,
       std::string host_id);
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
  const Options& options_;
  const Names& names_;
  const std::string host_id_;
};

}  // namespace csb::docker

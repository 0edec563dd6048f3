// SPDX-License-Identifier: Apache-2.0
//
// watcher.h: the engine's events about our containers, as they come: out of memory, paused, ended, removed by
// hand. Keeps the registry true between calls; a call never waits for it.
//
//   Watcher watcher(host, reactor, engine, registry);
//   watcher.Start();
//
// A stream that is cut, as by a restart of the daemon, is opened again with growing pauses; after each
// opening what is attached is compared with what the engine has.
#pragma once

#include <chrono>
#include <memory>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/docker/registry.h"

namespace csb::docker {

class Watcher {
 public:
  Watcher(HostRef host, Reactor& reactor, Engine& engine, Registry& registry);
  ~Watcher();  // no event is told after this
  void Start();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::docker

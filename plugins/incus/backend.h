// SPDX-License-Identifier: Apache-2.0
//
// backend.h: "csb.backend/1" of Incus. Operations on a live sandbox go straight to its agent's channel, in
// the caller's thread, and ask the engine nothing; making, finding and ending one happens on the host's
// workers.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "clara_sandbox/cpp/backend.h"
#include "plugins/common/installation.h"
#include "plugins/common/lifeline.h"
#include "plugins/common/post_limit.h"
#include "plugins/common/reactor.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/options.h"
#include "plugins/incus/registry.h"

namespace csb::incus {

class IncusBackend : public Backend {
 public:
  static Result<std::unique_ptr<IncusBackend>> Create(HostRef host);
  ~IncusBackend() override;

  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override;

 private:
  IncusBackend(HostRef host, Options options, std::unique_ptr<Reactor> reactor,
               std::unique_ptr<HttpClient> client);
  // Folders and ids are made when the first sandbox is asked for: a machine without Incus gets none.
  Result<Registry*> Ready();
  void Listen();
  Result<std::string> RunLifecycle(const Request& request, const Conversation& talk);

  const HostRef host_;
  const Options options_;
  std::unique_ptr<Reactor> reactor_;
  const std::shared_ptr<PostLimit> posts_;
  std::unique_ptr<Engine> engine_;
  std::mutex making_;
  std::atomic<Registry*> ready_{nullptr};  // registry_, once all of it is there
  std::unique_ptr<Names> names_;
  std::optional<HostMark> mark_;
  std::unique_ptr<Registry> registry_;
  std::shared_ptr<Lifeline<Registry>> events_;  // of the engine, for the registry
  const std::shared_ptr<Lifeline<IncusBackend>> line_ = std::make_shared<Lifeline<IncusBackend>>(this);
};

}  // namespace csb::incus

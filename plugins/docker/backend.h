// SPDX-License-Identifier: Apache-2.0
//
// backend.h: "csb.backend/1" of Docker. Operations on a live sandbox go straight to its agent's channel, in
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
#include "plugins/docker/engine.h"
#include "plugins/docker/options.h"
#include "plugins/docker/registry.h"
#include "plugins/docker/watcher.h"

namespace csb::docker {

class DockerBackend : public Backend {
 public:
  static Result<std::unique_ptr<DockerBackend>> Create(HostRef host);
  ~DockerBackend() override;

  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override;

 private:
  DockerBackend(HostRef host, Options options, std::unique_ptr<Reactor> reactor,
                std::unique_ptr<HttpClient> client);
  // Folders and ids are made when the first sandbox is asked for: a machine without Docker gets none.
  Result<Registry*> Ready();
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
  std::unique_ptr<Watcher> watcher_;
  const std::shared_ptr<Lifeline<DockerBackend>> line_ = std::make_shared<Lifeline<DockerBackend>>(this);
};

}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
//
// backend.h: "csb.backend/1" of another sandbox service, over its REST API. Sandboxes are made, kept and
// ended there; nothing of them is on this machine. Nothing blocks: all of it happens on one reactor.
#pragma once

#include <memory>

#include "clara_sandbox/cpp/backend.h"
#include "plugins/common/reactor.h"
#include "plugins/remote/links.h"
#include "plugins/remote/options.h"

namespace csb::remote {

class RemoteBackend : public Backend {
 public:
  static Result<std::unique_ptr<RemoteBackend>> Create(HostRef host);
  ~RemoteBackend() override;

  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override;

 private:
  RemoteBackend(std::unique_ptr<Reactor> reactor, std::shared_ptr<Links> links)
      : reactor_(std::move(reactor)), links_(std::move(links)) {}

  const std::unique_ptr<Reactor> reactor_;
  const std::shared_ptr<Links> links_;
};

}  // namespace csb::remote

// SPDX-License-Identifier: Apache-2.0
//
// backend.h: "csb.backend/1" of the embedded backend. Operations on a live sandbox go straight to its
// agent's channel, in the caller's thread; making, finding and ending one happens on the host's workers.
#pragma once

#include <memory>

#include "clara_sandbox/cpp/backend.h"
#include "plugins/bubblewrap/options.h"
#include "plugins/bubblewrap/registry.h"
#include "plugins/common/lifeline.h"
#include "plugins/common/reactor.h"

namespace csb::bwrap {

class BubblewrapBackend : public Backend {
 public:
  static Result<std::unique_ptr<BubblewrapBackend>> Create(HostRef host);
  ~BubblewrapBackend() override;

  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override;

 private:
  BubblewrapBackend(HostRef host, Options options, std::unique_ptr<Reactor> reactor);
  Result<std::string> RunLifecycle(const Request& request);

  const HostRef host_;
  const Options options_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Registry> registry_;
  const std::shared_ptr<Lifeline<BubblewrapBackend>> line_ =
      std::make_shared<Lifeline<BubblewrapBackend>>(this);
};

}  // namespace csb::bwrap

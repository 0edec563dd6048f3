// SPDX-License-Identifier: Apache-2.0
//
// watchdog.h: tells the service manager that the service lives, as long as it does.
//
//   Watchdog watchdog(manager, *app.service(), app.timers());   // starts where the manager wants to hear it
//   …
//   watchdog.Stopping();                                        // before the service is drained
//
// At half of the manager's interval the timers' thread asks the service how it is, and the answer, given by
// the thread on which the service ends operations, sends WATCHDOG=1. So silence means that requests would
// hang too: the timers, the service's locks or its thread are stuck. A backend that is stuck or down does not
// silence it, for the service goes on without; nor does a service that says of itself that it is unhealthy:
// to start it anew brings no Docker back.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "clara_sandbox/service.h"
#include "host/base/service_manager.h"
#include "host/base/timers.h"

namespace csb::host {

class Watchdog {
 public:
  // Service and timers outlive it, or at least Stopping.
  Watchdog(const ServiceManager& manager, const csb_service_v1& service, Timers& timers);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Asks no more, but goes on telling until the timers stop: the shutdown has a bound of its own. Returns
  // once the service holds nothing of ours, or after a second where it is stuck. Idempotent.
  void Stopping();

 private:
  class State;
  std::shared_ptr<State> state_;
};

// A line for people from the result of CSB_OP_HEALTH: "healthy; bubblewrap: 2 sandboxes; docker:
// unavailable".
std::string StatusLine(std::string_view health);

}  // namespace csb::host

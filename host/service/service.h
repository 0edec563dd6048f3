// SPDX-License-Identifier: Apache-2.0
//
// service.h: what frontends submit to: finds or makes the user's sandbox on the right backend
// and passes the operation on. Implements csb.service/1.
//
//   Service service(options, {bubblewrap.get()}, services, workers, timers, metrics);
//   if (auto s = service.Start(); !s) return s.error();
//   … hand service.table() to the frontends …
//   service.Drain(10s);   // after the frontends were stopped, before they are destroyed
//
// Life: backends, services, workers, timers and metrics outlive the service. ~Service drains
// with no grace if nobody did; handles that frontends still hold must be closed before it.
// Threads: table()->submit and the calls are [any]/[worker] as in service.h of the plugin API;
// Start and Drain are called once each, by the composition root.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/service.h"
#include "host/base/timers.h"
#include "host/base/workers.h"
#include "host/metrics/metrics.h"
#include "host/plugin/guarded_operation.h"
#include "host/plugin/host_services.h"
#include "host/plugin/instance.h"

namespace csb::host {

// A backend that was found but is not in use, for info and explain.
struct PassedOver {
  std::string name, reason, hint;
};

struct ServiceOptions {
  std::string mode = "auto";                                        // sandbox.mode
  std::vector<std::string> order{"docker", "incus", "bubblewrap"};  // sandbox.order
  size_t max_sandboxes = 10;                                        // sandbox.max_sandboxes
  double default_execution_timeout = 30;                            // seconds
  double max_execution_timeout = 300;                               // seconds
  std::vector<std::string> require;           // sandbox.require: protections a backend must enforce
  std::vector<std::string> allow_unenforced;  // sandbox.allow_unenforced
  std::vector<std::string> allow_choice;  // sandbox.allow_backend_choice: what a create may name, or "all"
  std::vector<PassedOver> passed_over;
  bool public_listener = false;  // a frontend listens beyond loopback
  std::string state_dir;         // sandbox.state_dir; empty: nothing is kept on disk
  std::string version = CSB_VERSION;
  // Idle stop comes from the config key NAME.timeout of each backend, in seconds; 0 or unset: never.

  // Not configurable; tests shorten them.
  std::chrono::milliseconds create_deadline{60000};
  std::chrono::milliseconds control_deadline{30000};  // stop, destroy, status, list
  std::chrono::milliseconds probe_deadline{5000};
  std::chrono::milliseconds probe_refresh{30000};
  std::chrono::milliseconds adopt_deadline{5000};  // how long users wait for a backend's first list
  std::chrono::milliseconds breaker_open{10000};
  std::chrono::milliseconds breaker_trust{1000};  // how long failures count for less than a good probe
  // A failed call in an open sandbox that took longer is not to be met by each while the backend is left
  // alone.
  std::chrono::milliseconds breaker_patience{500};
  int breaker_failures = 3;
  std::chrono::milliseconds record_flush{5000};
  GuardTimes guard;
};

class Service {
 public:
  // Metrics must have been made with the backends' names in this order.
  Service(ServiceOptions options, std::vector<BackendInstance*> backends, HostServices& services,
          Workers& workers, Timers& timers, Metrics& metrics);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const csb_service_v1* table() const;

  // Probes the backends and adopts the sandboxes they have, in the background; makes none.
  // Errors: CSB_E_INVALID for a mode or backend that does not exist.
  Status Start();

  // Refuses new operations, waits up to `grace` for those under way, ends the rest with
  // CSB_E_CANCELLED "shutting down", and waits until every backend operation has ended (the
  // guard bounds that). Sandboxes live on. Idempotent.
  void Drain(std::chrono::milliseconds grace);

  struct Core;  // for the files of this folder

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace csb::host

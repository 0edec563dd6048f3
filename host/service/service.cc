// SPDX-License-Identifier: Apache-2.0
#include "host/service/service.h"

#include <algorithm>
#include <array>
#include <utility>

#include "host/service/core.h"

namespace csb::host {

Service::Service(ServiceOptions options, std::vector<BackendInstance*> backends, HostServices& services,
                 Workers& workers, Timers& timers, Metrics& metrics)
    : core_(std::make_shared<Core>(std::move(options), backends, services, workers, timers, metrics)) {}

Service::~Service() { core_->Drain(std::chrono::milliseconds(0)); }

const csb_service_v1* Service::table() const { return &core_->table; }

Status Service::Start() {
  static constexpr std::array<std::string_view, 6> kModes = {"auto",     "docker", "incus",
                                                             "incus-vm", "remote", "bubblewrap"};
  const std::string& mode = core_->options.mode;
  if (std::find(kModes.begin(), kModes.end(), mode) == kModes.end() && core_->IndexOf(mode) < 0)
    return Error{CSB_E_INVALID, "sandbox.mode: there is no mode or backend " + mode,
                 "use auto, docker, incus, incus-vm, remote, bubblewrap, or the name of a loaded backend",
                 false};
  for (const std::string& name : core_->options.require)
    if (std::find(kRequirements.begin(), kRequirements.end(), name) == kRequirements.end())
      return Error{CSB_E_INVALID, "sandbox.require: there is no guarantee " + name,
                   "use some of: memory cpu pids disk network seccomp userns no_new_privs network-none vm",
                   false};
  for (const std::string& name : core_->options.allow_unenforced)
    if (std::find(kLimitNames.begin(), kLimitNames.end(), name) == kLimitNames.end())
      return Error{CSB_E_INVALID, "sandbox.allow_unenforced: there is no limit " + name,
                   "use some of: memory cpu pids disk network seccomp userns no_new_privs", false};
  for (int i : core_->AllBackends()) {
    core_->Probe(i);
    core_->List(i);
  }
  return {};
}

void Service::Drain(std::chrono::milliseconds grace) { core_->Drain(grace); }

}  // namespace csb::host

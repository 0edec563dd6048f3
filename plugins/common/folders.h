// SPDX-License-Identifier: Apache-2.0
//
// folders.h: where a local backend keeps things on the host, and where what it ships stands.
//
//   options.state_dir = StateDir(host) + "/docker";
//   options.agent = FindHelper(host, "docker.agent", "clara-sandbox-agent");
#pragma once

#include <initializer_list>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/result.h"

namespace csb {

// The option `key`, or NAME beside the folder of the plugins.
std::string FindHelper(const HostRef& host, const char* key, const char* name);

// sandbox.state_dir, or /var/lib for root, or the user's XDG folder: outlives a reboot.
std::string StateDir(const HostRef& host);
// sandbox.data_dir, or /data/sandboxes where it can be written, or in `state`: users' files.
std::string DataDir(const HostRef& host, const std::string& state);
// sandbox.runtime_dir, or /run for root, or the user's XDG folder, or in `state`: gone after a reboot.
std::string RuntimeDir(const HostRef& host, const std::string& state);

Status CheckAbsolute(std::initializer_list<const std::string*> folders);

}  // namespace csb

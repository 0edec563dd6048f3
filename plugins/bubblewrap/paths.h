// SPDX-License-Identifier: Apache-2.0
//
// paths.h: where things of one user stand on the host. `name` is EngineName(user id).
//
//   <data>/<name>/         0711, outlives the sandbox     record.json workspace.ext4 workspace/
//   <runtime>/<name>/      0711, gone after a reboot      live.json ctl/ (sockets of hosts)
//   <runtime>/locks/<name> one host process at a time works on a user's sandbox
#pragma once

#include <string>

namespace csb::bwrap {

struct Paths {
  std::string name, data, runtime, lock;

  Paths(const std::string& data_root, const std::string& runtime_root, const std::string& engine_name)
      : name(engine_name),
        data(data_root + "/" + engine_name),
        runtime(runtime_root + "/" + engine_name),
        lock(runtime_root + "/locks/" + engine_name) {}

  std::string record() const { return data + "/record.json"; }
  std::string image() const { return data + "/workspace.ext4"; }
  std::string workspace() const { return data + "/workspace"; }
  std::string live() const { return runtime + "/live.json"; }
  std::string control() const { return runtime + "/ctl"; }
};

}  // namespace csb::bwrap

// SPDX-License-Identifier: Apache-2.0
//
// installation.h: who owns what in an engine that others use too: a random id in the state folder, and one
// for this host process, locked while it lives.
//
//   auto id = InstallationId("/var/lib/clara-sandbox/docker");
//   auto mark = HostMark::Make("/var/lib/clara-sandbox/docker/hosts");
//   if (!HostAlive("/var/lib/clara-sandbox/docker/hosts", "4fa1b2c3")) …   // what it made may be removed
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/unique_fd.h"

namespace csb {

// Sixteen hex digits, made once for each state folder; every process that shares it gets the same.
Result<std::string> InstallationId(const std::string& state_dir);

// This process's place among those in the folder `hosts`: `id` is new, its file there locked until this
// object goes.
class HostMark {
 public:
  static Result<HostMark> Make(const std::string& hosts);
  HostMark(HostMark&&) = default;
  ~HostMark();
  const std::string& id() const { return id_; }

 private:
  HostMark(UniqueFd fd, std::string id, std::string path)
      : fd_(std::move(fd)), id_(std::move(id)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string id_, path_;
};

// Whether the host process of that id lives; one that does not has its mark removed.
bool HostAlive(const std::string& hosts, const std::string& id);

}  // namespace csb

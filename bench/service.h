// SPDX-License-Identifier: Apache-2.0
//
// service.h: a host under measurement, with folders of its own; everything is removed at the end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace csb::bench {

class Service {
 public:
  // Starts `binary serve` on a free loopback port, with `options` beside its own, and waits until /health
  // answers. Ends the process with a message if it does not.
  Service(const std::string& binary, const std::string& backend,
          const std::vector<std::string>& options = {});
  // Destroys the users' sandboxes it was told of, ends the host, removes the folders.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  uint16_t port() const { return port_; }
  pid_t pid() const { return pid_; }
  const std::string& folder() const { return folder_; }
  // What every path of its runtime folder has in it.
  std::string name() const { return folder_.substr(folder_.rfind('/') + 1); }

 private:
  void End();

  std::string folder_, runtime_;
  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace csb::bench

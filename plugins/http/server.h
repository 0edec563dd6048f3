// SPDX-License-Identifier: Apache-2.0
//
// server.h: the frontend: listens, spreads connections over its threads, stops.
//
//   auto server = Server::Create(host, service);   // reads and checks its options
//   (*server)->Start(finished);                     // binds; returns once it accepts
//   (*server)->Stop();                              // accepts nothing new
#pragma once

#include <memory>

#include "clara_sandbox/cpp/frontend.h"
#include "plugins/mcp/provider.h"

namespace csb::http {

class Server : public Frontend {
 public:
  // Errors name the option and what to do: no key beyond loopback, a keys file open to others, …
  // `mcp`: what /mcp serves; null: the service.
  static Result<std::unique_ptr<Server>> Create(HostRef host, ServiceClient service,
                                                std::shared_ptr<mcp::Provider> mcp = nullptr);
  ~Server() override;
  Status Start(Finished finished) override;
  void Stop() override;
  void Reload() override;

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace csb::http

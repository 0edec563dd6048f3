// SPDX-License-Identifier: Apache-2.0
//
// exec_stream.h: a program that the engine runs in an instance, as a connected socket: what the agent's
// channel needs where its control folder can't be mounted (a remote server, another member, a VM).
//
//   auto stream = ExecStream::Open(reactor, client, "default", "clara-1f…",
//                                  {"/run/clara/agent", "--connect", "/run/clara/ctl", …}, 10s);
//   auto channel = AgentChannel::Create(reactor, (*stream)->TakeSocket(), …);
//
// POST /1.0/instances/NAME/exec, then one websocket each for stdin, stdout and stderr of the operation, which
// any member of a cluster leads to the right one (Incus REST API, "exec"). stdout is passed on; of stderr the
// first 4 KiB are kept. The end of our input is told to the program; who closes the socket leaves it 2 s to
// end by itself, then the engine kills it, as it does when the stream is destroyed.
// Ends with either side; memory is bounded by the sockets' buffers, 256 KiB to the program and one message of
// at most 1 MiB from it.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/byte_stream.h"
#include "plugins/common/http_client.h"
#include "plugins/common/reactor.h"

namespace csb::incus {

class ExecStream : public ByteStream {
 public:
  // Blocks (not on the reactor's thread) until the stream is open, at most `limit`. argv runs as root of the
  // instance. Errors: engine_error.h; what the engine finds out only when it starts the program ends the
  // stream, and Complaints tells it. The reactor and the client must outlive it.
  static Result<std::unique_ptr<ExecStream>> Open(Reactor& reactor, HttpClient& client,
                                                  const std::string& project, const std::string& instance,
                                                  const std::vector<std::string>& argv,
                                                  std::chrono::milliseconds limit);
  ~ExecStream() override;

  UniqueFd TakeSocket() override;
  std::string Complaints() const override;

 private:
  struct Impl;
  explicit ExecStream(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::incus

// SPDX-License-Identifier: Apache-2.0
//
// exec_stream.h: an exec session of the engine as a connected socket: what the agent's channel needs where
// its control folder can't be mounted (a remote daemon, a host in a container).
//
//   auto stream = ExecStream::Open(reactor, client, "/v1.41", container_id,
//                                  {"/run/clara/agent", "--connect", "/run/clara/ctl", …}, 10s);
//   auto channel = AgentChannel::Create(reactor, (*stream)->TakeSocket(), …);
//
// POST /containers/ID/exec, then POST /exec/EID/start with `Upgrade: tcp` (Docker Engine API, "Attach to a
// container"): the answer 101 turns the connection into a stream. To the process bytes go raw; from it come
// frames of `type 0 0 0 length_be32`, of which stdout (1) is passed on, stderr (2) is kept for the message
// of the end (at most 4 KiB), everything else ends the stream.
// Ends with either side; memory is bounded by the sockets' buffers and one piece each way.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/byte_stream.h"
#include "plugins/common/http_client.h"
#include "plugins/common/reactor.h"

namespace csb::docker {

class ExecStream final : public ByteStream {
 public:
  // Blocks (not on the reactor's thread) until the stream is open, at most `limit`. argv runs as root of the
  // container. Errors: engine_error.h. The reactor must outlive it; the client is needed for Open alone.
  static Result<std::unique_ptr<ExecStream>> Open(Reactor& reactor, HttpClient& client,
                                                  const std::string& api, const std::string& container,
                                                  const std::vector<std::string>& argv,
                                                  std::chrono::milliseconds limit);
  ~ExecStream() override;

  UniqueFd TakeSocket() override;
  // What the process wrote to stderr so far: why it ended.
  std::string Complaints() const override;

 private:
  struct Impl;
  explicit ExecStream(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::docker

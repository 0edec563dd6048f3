// SPDX-License-Identifier: Apache-2.0
//
// byte_stream.h: a stream of an engine that leads to a sandbox's agent, as a connected socket: what the
// agent's channel needs where its control folder can't be mounted.
//
//   std::unique_ptr<ByteStream> stream = …;
//   auto channel = AgentChannel::Create(reactor, stream->TakeSocket(), …);
#pragma once

#include <string>

#include "plugins/common/unique_fd.h"

namespace csb {

class ByteStream {
 public:
  virtual ~ByteStream() = default;  // ends it; any thread

  // Our end, once. Closing it ends the stream.
  virtual UniqueFd TakeSocket() = 0;
  // What the other side said of its end so far, made printable.
  virtual std::string Complaints() const = 0;
};

}  // namespace csb

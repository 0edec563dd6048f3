// SPDX-License-Identifier: Apache-2.0
//
// connection.h: one client's connection: reads requests one after the other, hands each to its
// Exchange, writes the answers, and drops clients that are too slow. Lives on one thread.
//
//   reading a head -> Dispatch -> reading the body, answering -> the next head | lingering -> closed
//
// While a request is answered the next ones are read up to the size of a head and not looked at, so
// pipelining is bounded, and a client that closes is noticed: its request's exchange is destroyed,
// which cancels what it started.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "plugins/http/app.h"
#include "plugins/http/connection_limits.h"
#include "plugins/http/transport.h"

namespace csb::http {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  virtual ~Connection() = default;
  virtual void Start() = 0;
  // Closes once what is being answered has been sent; at once when that is nothing.
  virtual void Drain() = 0;
  virtual void Close() = 0;
};

struct ConnectionParts {
  App& app;
  ThreadState& thread;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<ConnectionLimits::Slot> slot;
  std::string peer;  // for logs
  std::function<void(Connection*)> on_closed;
};

std::shared_ptr<Connection> MakeConnection(ConnectionParts parts);

}  // namespace csb::http

// SPDX-License-Identifier: Apache-2.0
//
// exchange.h: one request being answered. A Connection owns the Exchange, feeds it the body and
// destroys it once the answer is sent or the client is gone; the Exchange answers through its
// Responder. Everything happens on the connection's thread.
//
//   head parsed -> Start() -> TakeBody()* -> OnBodyEnd()
//   Responder: Respond()   or   Begin() Write()* End()
//
// The body may still be coming when the answer begins. The destructor must end what was started:
// it is all that is called when the client disconnects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/http/reply.h"
#include "plugins/http/request_parser.h"

namespace csb::http {

class Responder {
 public:
  // The whole answer; the last call.
  virtual void Respond(Reply reply) = 0;
  // An answer in pieces. `reply.body` is ignored; without a length the body is chunked.
  virtual void Begin(const Reply& reply, std::optional<uint64_t> length) = 0;
  // Once the client's kernel has taken `data`, OnSent(credit) is called.
  virtual void Write(std::string data, uint64_t credit) = 0;
  virtual void End() = 0;
  // Ends HTTP on this connection: 101 with these fields; all that comes from now on goes to TakeBody, and
  // what is written goes out as it is. End() closes the connection once it is sent.
  virtual void Upgrade(std::string_view fields) = 0;
  // The answer cannot be completed: the client sees its connection break.
  virtual void Break() = 0;
  // TakeBody would take more now.
  virtual void WantBody() = 0;
  // OnTimer is called once in that many seconds; a later call moves it.
  virtual void CallBack(double seconds) = 0;
  virtual bool begun() const = 0;

 protected:
  ~Responder() = default;
};

class Exchange : public BodySink {
 public:
  virtual ~Exchange() = default;
  // Most bytes of body that are read; what a request has beyond it is a 413. 0: the body is of no
  // interest, and a small one is read over.
  virtual uint64_t body_limit() const { return 0; }
  virtual void Start() {}
  size_t TakeBody(std::string_view bytes) override { return bytes.size(); }
  virtual void OnBodyEnd() {}
  virtual void OnSent(uint64_t /*credit*/) {}
  virtual void OnTimer() {}
};

}  // namespace csb::http

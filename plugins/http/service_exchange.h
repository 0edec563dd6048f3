// SPDX-License-Identifier: Apache-2.0
//
// service_exchange.h: what the exchanges that ask the service have in common: one operation,
// cancelled when the exchange goes; a JSON body gathered within its bounds; input fed by credit.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "plugins/http/app.h"
#include "plugins/http/exchange.h"
#include "plugins/http/incoming.h"
#include "plugins/http/payload.h"
#include "plugins/http/service_call.h"

namespace csb::http {

class ServiceExchange : public Exchange, protected CallEvents {
 public:
  ServiceExchange(App& app, ThreadState& thread, Incoming in, Responder& out)
      : app_(app), thread_(thread), in_(std::move(in)), out_(out), share_(app.memory) {}
  ~ServiceExchange() override;

 protected:
  // Starts the operation of the route, or another in its place. false: the error was answered.
  bool Submit(std::string_view payload, bool has_input, uint64_t output_credit, uint32_t op = 0);
  // Answers an error, or breaks an answer that has begun. Ends the operation.
  virtual void Fail(const Error& error);
  // Holds that many more bytes in memory. false: answered 503.
  bool Hold(uint64_t bytes);

  // Sends `text` as the operation's input, as credit comes, and ends it.
  void FeedInput(std::string text);
  void OnInputCredit(uint64_t bytes) override;
  void OnEvent(uint32_t, std::string_view) override {}

  App& app_;
  ThreadState& thread_;
  const Incoming in_;
  Responder& out_;
  std::shared_ptr<ServiceCall> call_;
  bool answered_ = false;  // by Fail

 private:
  void Feed();
  MemoryShare share_;
  std::string input_;
  size_t input_sent_ = 0;
  uint64_t input_credit_ = 0;
  bool feeding_ = false;
};

// Gathers a JSON body and hands it on.
class JsonExchange : public ServiceExchange {
 public:
  using ServiceExchange::ServiceExchange;
  // The table gives bodies to POST only.
  uint64_t body_limit() const override {
    return std::string_view(in_.route->method) == "POST" ? app_.settings.max_body : 0;
  }
  size_t TakeBody(std::string_view bytes) override;
  void OnBodyEnd() final;

 protected:
  virtual PayloadOptions payload_options() const { return {}; }
  virtual void OnPayload(Payload payload) = 0;

 private:
  std::string body_;
};

}  // namespace csb::http

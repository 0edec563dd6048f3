// SPDX-License-Identifier: Apache-2.0
//
// provider.h: what a server offers, apart from how MCP is spoken: a session (session.h) does the
// latter for any provider. The sandbox's tools are one (sandbox_provider.h).
//
//   bool Handle(const ProviderRequest& request, std::shared_ptr<Pending> pending) override {
//     if (request.method != "tools/call") return false;           // "method not found"
//     auto work = Start(…, [pending](std::string text) { pending->Result(text); });
//     pending->OnCancel([work] { work->Stop(); });
//     return true;
//   }
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/mcp/revision.h"

namespace csb::mcp {

// A request under way. Any thread. After the first of Result, InputRequired and Fail, and after the client
// has given it up, nothing is sent for it any more, whatever is called.
class Pending {
 public:
  virtual ~Pending() = default;
  // One JSON object, without _meta. What the revision demands of every result is added.
  virtual void Result(std::string_view object) = 0;
  // A result that asks the client for something first (era without initialize).
  virtual void InputRequired(std::string_view object) = 0;
  virtual void Fail(int code, std::string_view message, std::string_view data_json = {}) = 0;

  virtual bool WantsProgress() const = 0;
  // The message is dropped when the last one was just now; the number rises by itself.
  virtual void Progress(std::string_view message) = 0;
  // A step of a known number of them; `done` must rise.
  virtual void Step(double done, double total, std::string_view message) = 0;
  virtual void Notify(std::string_view method, std::string_view params_json) = 0;
  // Asks the client (era of initialize): `then` gets its whole message, with result or error.
  virtual void Ask(std::string_view method, std::string_view params_json,
                   std::function<void(const json::Value& message)> then) = 0;
  // Called once when the client gives up, at once when it has; dropped with the answer. One for each request.
  virtual void OnCancel(std::function<void()> stop) = 0;
  virtual std::string_view id() const = 0;  // as JSON text
};

// Whether this client may act for that user now; an Error is told to it.
using Access = std::function<Status(std::string_view user)>;

// Borrowed for the call of Handle.
struct ProviderRequest {
  const Revision& revision;
  std::string_view method;
  const json::Value* params;        // an object, or null
  const json::Value* capabilities;  // the client's own, told with each request; null in the era of initialize
  std::string_view log_level;       // empty: it wants no notifications/message
  const std::string& default_user;  // empty: the provider's
  const Access& access;             // may be empty
  // What is no answer to a request, for as long as the session lasts; false: it has ended. Empty where there
  // is nothing that it could come by: over HTTP, and in the era without initialize, which asks to listen.
  const std::function<bool(std::string_view method, std::string_view params_json)>& tell;
  const void* session;  // which one, where `tell` is
};

struct ServerInfo {
  std::string name, title, version, instructions;
};

class Provider {
 public:
  virtual ~Provider() = default;
  virtual const ServerInfo& info() const = 0;
  // The members of the object `capabilities`. listens: requests will have `tell`, or can ask to listen.
  virtual void WriteCapabilities(json::Writer& writer, const Revision& revision, bool listens) const = 0;
  // No request of that session will come any more.
  virtual void OnSessionEnd(const void* /*session*/) {}
  // False: there is no such method. Thread-safe; sessions share a provider.
  virtual bool Handle(const ProviderRequest& request, std::shared_ptr<Pending> pending) = 0;
};

}  // namespace csb::mcp

// SPDX-License-Identifier: Apache-2.0
//
// session_testing.h: a session over a scripted service, with what it sends written down.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/testing/fake_host.h"
#include "clara_sandbox/testing/fake_service.h"
#include "plugins/mcp/sandbox_provider.h"
#include "plugins/mcp/session.h"

namespace csb::mcp::testing {

using csb::testing::FakeHost;
using csb::testing::FakeService;

inline std::string ProgramResult(int exit_code, const std::string& more = "") {
  return R"({"exit_code":)" + std::to_string(exit_code) +
         R"(,"cause":"exit","signal":0,"execution_time":0.5,"stdout_bytes":3,"stderr_bytes":0)" + more + "}";
}

// An operation that runs until it is cancelled, or ended by the test.
class Running : public Operation {
 public:
  explicit Running(EventSink sink) : sink_(std::move(sink)) {}
  void Cancel(csb_status cause) override {
    cancelled_ = true;
    sink_.Fail({cause, "cancelled", "", false});
  }
  void Credit(uint64_t bytes) override { credit_ += bytes; }
  Status Input(std::string_view data, bool eof) override {
    input_.append(data);
    if (eof) sink_.Done(R"({"path":"/workspace/f","size":)" + std::to_string(input_.size()) + "}");
    return {};
  }
  const EventSink& sink() const { return sink_; }
  bool cancelled() const { return cancelled_; }
  uint64_t credit() const { return credit_; }
  std::string input() const { return input_; }

 private:
  EventSink sink_;
  std::atomic<bool> cancelled_ = false;
  std::atomic<uint64_t> credit_ = 0;
  std::string input_;
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() { Open({}); }
  void Open(ToolOptions options, SessionOptions session = {}) {
    session_.reset();
    session_ = std::make_unique<McpSession>(
        MakeSandboxProvider(service_.client(), options),
        [this](Outgoing out) {
          const std::lock_guard lock(mu_);
          EXPECT_EQ(out.text.find('\n'), std::string::npos);
          sent_.push_back(std::move(out.text));
          statuses_.push_back(out.http_status);
          changed_.notify_all();
        },
        std::move(session));
  }
  void Initialize(const std::string& revision = "2025-11-25") {
    Say(R"({"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":")" + revision +
        R"(","capabilities":{},"clientInfo":{"name":"test","version":"1"}}})");
    Take();
    Say(R"({"jsonrpc":"2.0","method":"notifications/initialized"})");
  }
  void Say(const std::string& text) { session_->OnMessage(text); }
  void CallTool(const std::string& id, const std::string& tool, const std::string& arguments,
                const std::string& meta = "{}") {
    Say(R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":"tools/call","params":{"name":")" + tool +
        R"(","arguments":)" + arguments + R"(,"_meta":)" + meta + "}}");
  }
  // The next message sent; {} and a failed test when none comes.
  json::Document Take() {
    std::unique_lock lock(mu_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return taken_ < sent_.size(); })) {
      ADD_FAILURE() << "nothing is sent";
      return *json::Parse("{}");
    }
    last_ = sent_[taken_++];
    auto doc = json::Parse(last_);
    EXPECT_TRUE(doc) << last_;
    return doc ? *std::move(doc) : *json::Parse("{}");
  }
  // Nothing more is sent, once all that the service has to do is done.
  bool Silent() {
    std::unique_lock lock(mu_);
    return !changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return taken_ < sent_.size(); });
  }
  static int Code(const json::Document& answer) {
    const json::Value* error = json::Find(answer, "error");
    return error == nullptr ? 0 : static_cast<int>(json::GetInt(*error, "code").value_or(0));
  }
  static const json::Value& ResultOf(const json::Document& answer) {
    static const json::Document kNone = *json::Parse("{}");
    const json::Value* result = json::Find(answer, "result");
    EXPECT_NE(result, nullptr);
    return result == nullptr ? kNone : *result;
  }
  static bool IsError(const json::Document& answer) {
    return json::GetBool(ResultOf(answer), "isError").value_or(false);
  }
  static std::string Text(const json::Document& answer) {
    const json::Value* content = json::Find(ResultOf(answer), "content");
    if (content == nullptr || !content->IsArray() || content->Empty()) return "<no content>";
    return std::string(json::GetString((*content)[0], "text").value_or("<no text>"));
  }
  // From now on operations of this kind run until the test ends them.
  void Hold(uint32_t op) {
    service_.On(op, [this](const RequestView&, EventSink sink) -> Result<std::shared_ptr<Operation>> {
      auto running = std::make_shared<Running>(std::move(sink));
      const std::lock_guard lock(mu_);
      running_.push_back(running);
      return std::shared_ptr<Operation>(running);
    });
  }

  FakeHost host_;
  FakeService service_{host_};
  std::mutex mu_;
  std::condition_variable changed_;
  std::vector<std::string> sent_;
  std::vector<int> statuses_;  // of what is in sent_
  size_t taken_ = 0;
  std::string last_;
  std::vector<std::shared_ptr<Running>> running_;
  std::unique_ptr<McpSession> session_;
};

}  // namespace csb::mcp::testing

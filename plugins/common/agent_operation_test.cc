// SPDX-License-Identifier: Apache-2.0
//
// The way of a request through a backend that does nothing but RunOnAgent, behind its C table.
#include "plugins/common/agent_operation.h"

#include <gmock/gmock.h>

#include <thread>

#include "clara_sandbox/cpp/backend.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/testing/fake_service.h"
#include "clara_sandbox/testing/recorder.h"
#include "plugins/common/agent_channel_testing.h"
#include "plugins/common/agent_result.h"

namespace csb::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

class OneSandbox : public Backend {
 public:
  static Result<std::unique_ptr<OneSandbox>> Create(HostRef host) {
    return std::make_unique<OneSandbox>(host);
  }
  explicit OneSandbox(HostRef host) : host_(host) {}
  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override {
    if (!RunsOnAgent(request.op)) return Unsupported(request.op);
    return RunOnAgent(host_, channel, request, std::move(sink), amend);
  }
  static inline std::shared_ptr<AgentChannel> channel;
  static inline OutcomeHook amend;

 private:
  HostRef host_;
};

class AgentOperationTest : public ChannelTest {
 protected:
  void SetUp() override {
    ChannelTest::SetUp();
    Ready();
    OneSandbox::channel = channel_;
    backend_.emplace(host_);
  }
  void TearDown() override {
    OneSandbox::channel.reset();
    OneSandbox::amend = {};
    ChannelTest::TearDown();
    backend_.reset();
  }
  const csb_backend_v1* table() { return backend_->table(); }
  csb_backend* self() { return backend_->self(); }

  FakeHost host_;
  std::optional<BackendHarness<OneSandbox>> backend_;
};

TEST_F(AgentOperationTest, PayloadGoesThroughAndTheTimeoutBecomesTheDeadline) {
  Recorder shell(table(), self(),
                 {.op = CSB_OP_SHELL,
                  .user = "alice",
                  .payload = R"({"command":"id","timeout":9,"cwd":"sub"})",
                  .deadline_ns = host_.ref().NowNs() + 2'500'000'000});
  const auto open = agent_->Expect(Kind::kOpen);
  auto doc = json::ParseObject(open.payload);
  ASSERT_TRUE(doc) << open.payload;
  EXPECT_EQ(json::GetString(*doc, "op"), "shell");
  EXPECT_EQ(json::ToString(*json::Find(*doc, "args")), R"({"command":"id","cwd":"sub"})");
  EXPECT_GT(json::GetInt(*doc, "timeout_ms"), 1000);
  EXPECT_LE(json::GetInt(*doc, "timeout_ms"), 2500);
  agent_->Send(Kind::kOutput, CSB_STREAM_STDOUT, open.stream, "uid=1000\n");
  agent_->Send(Kind::kDone, 0, open.stream, ProgramDone());
  ASSERT_TRUE(shell.Wait());
  EXPECT_EQ(shell.code(), CSB_OK);
  EXPECT_EQ(shell.output(CSB_STREAM_STDOUT), "uid=1000\n");
  EXPECT_THAT(shell.result(), HasSubstr(R"("exit_code":0)"));
  EXPECT_THAT(shell.violations(), IsEmpty());
}

TEST_F(AgentOperationTest, BadPayloadIsRefusedAndNothingSent) {
  Recorder shell(table(), self(), {.op = CSB_OP_SHELL, .user = "alice", .payload = R"({"command":)"});
  ASSERT_TRUE(shell.Wait());
  EXPECT_EQ(shell.code(), CSB_E_BAD_REQUEST);
  EXPECT_FALSE(agent_->Next(30ms));
}

TEST_F(AgentOperationTest, LostChannelIsNoSandboxBeforeAndGoneAfterTheStart) {
  Recorder running(table(), self(), {.op = CSB_OP_SHELL, .user = "alice"});
  agent_->Expect(Kind::kOpen);
  agent_->Close();
  ASSERT_TRUE(running.Wait());
  EXPECT_EQ(running.code(), CSB_E_GONE);
  EXPECT_THAT(running.violations(), IsEmpty());
  ASSERT_TRUE(end_.Wait());
  Recorder next(table(), self(), {.op = CSB_OP_SHELL, .user = "alice"});
  ASSERT_TRUE(next.Wait());
  EXPECT_EQ(next.code(), CSB_E_NO_SANDBOX);
}

TEST_F(AgentOperationTest, HookAmendsTheOutcome) {
  OneSandbox::amend = [](uint32_t op, AgentOutcome& outcome) {
    EXPECT_EQ(op, static_cast<uint32_t>(CSB_OP_EXECUTE));
    AmendToOom(outcome, "512 MiB", "raise the limit");
  };
  Recorder run(table(), self(), {.op = CSB_OP_EXECUTE, .user = "alice"});
  agent_->Send(Kind::kDone, 0, agent_->Expect(Kind::kOpen).stream, ProgramDone(137, "signal"));
  ASSERT_TRUE(run.Wait());
  auto doc = json::ParseObject(run.result());
  ASSERT_TRUE(doc);
  EXPECT_EQ(json::GetString(*doc, "cause"), "oom");
  EXPECT_EQ(json::GetInt(*doc, "exit_code"), 137);
  EXPECT_THAT(std::string(*json::GetString(*doc, "message")), HasSubstr("OOM killed"));
  EXPECT_EQ(json::GetString(*doc, "hint"), "raise the limit");
}

TEST_F(AgentOperationTest, InputReachesTheAgent) {
  Recorder write(
      table(), self(),
      {.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .user = "alice", .payload = R"({"path":"f"})"});
  const auto open = agent_->Expect(Kind::kOpen);
  agent_->SendU64(Kind::kInputCredit, open.stream, 10);
  ASSERT_TRUE(write.Send("0123456789"));
  std::string got;
  for (bool end = false; !end;) {
    const auto input = agent_->Expect(Kind::kInput);
    got += input.payload;
    end = input.flags == protocol::kFlagEndOfInput || input.kind != Kind::kInput;
  }
  EXPECT_EQ(got, "0123456789");
  agent_->Send(Kind::kDone, 0, open.stream, R"({"code":0,"result":{"path":"/workspace/f","size":10}})");
  ASSERT_TRUE(write.Wait());
  EXPECT_EQ(write.code(), CSB_OK);
  EXPECT_THAT(write.violations(), IsEmpty());
}

// 100 MB through a credit of 256 KiB: what waits in the host at any time stays within it.
TEST_F(AgentOperationTest, LargeFileGoesThroughWithinItsCredit) {
  constexpr uint64_t kTotal = 100 << 20;
  class Counting : public CallHandler {
   public:
    void OnOutput(Call& call, uint32_t, std::string_view data) override {
      received += data.size();
      call.Credit(data.size());
    }
    void OnDone(Call&, const OutcomeView& outcome) override { done.Set(outcome.code); }
    uint64_t received = 0;
    Eventually<csb_status> done;
  };
  const csb_service_v1 service{sizeof(csb_service_v1), 0, reinterpret_cast<csb_service*>(self()),
                               reinterpret_cast<decltype(csb_service_v1::submit)>(table()->submit),
                               table()->calls};
  auto handler = std::make_shared<Counting>();
  auto call = ServiceClient(&service).Submit(
      Request{.op = CSB_OP_FILE_READ, .user = "alice", .output_credit = 256 << 10}, handler);
  ASSERT_TRUE(call);
  const auto open = agent_->Expect(Kind::kOpen);
  const std::string meta =
      R"({"path":"/f","size":104857600,"mode":"0644","mtime":"","offset":0,"length":104857600})";
  agent_->Send(Kind::kEvent, CSB_EVENT_META, open.stream, meta);
  const std::string piece(64 << 10, 'q');
  uint64_t credit = 256 << 10;
  for (uint64_t sent = 0; sent < kTotal; sent += piece.size()) {
    while (credit < piece.size()) credit += protocol::LoadU64(agent_->Expect(Kind::kCredit).payload.data());
    agent_->Send(Kind::kOutput, CSB_STREAM_DATA, open.stream, piece);
    credit -= piece.size();
  }
  agent_->Send(Kind::kDone, 0, open.stream, R"({"code":0,"result":)" + meta + "}");
  EXPECT_EQ(handler->done.Wait(), CSB_OK);
  EXPECT_EQ(handler->received, kTotal);
}

}  // namespace
}  // namespace csb::testing

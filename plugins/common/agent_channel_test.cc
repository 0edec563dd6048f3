// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/agent_channel.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/agent_channel_testing.h"

namespace csb::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST_F(ChannelTest, ShellComesBackWithOutputAndResult) {
  Ready();
  EXPECT_EQ(channel_->hello().agent, "0.1.0");
  EXPECT_TRUE(channel_->hello().separate_uids);
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start(
      {.op = "shell", .args = R"({"command":"id"})", .timeout_ms = 5000, .credit = 100}, &sink, &stream));
  const auto open = agent_->Expect(Kind::kOpen);
  EXPECT_EQ(open.flags, 0);
  auto doc = json::ParseObject(open.payload);
  ASSERT_TRUE(doc) << open.payload;
  EXPECT_EQ(json::GetString(*doc, "op"), "shell");
  EXPECT_EQ(json::GetInt(*doc, "timeout_ms"), 5000);
  EXPECT_EQ(json::GetInt(*doc, "credit"), 100);
  EXPECT_EQ(json::GetString(*json::Find(*doc, "args"), "command"), "id");

  agent_->Send(Kind::kOutput, CSB_STREAM_STDOUT, open.stream, "uid=1000\n");
  agent_->Send(Kind::kOutput, CSB_STREAM_STDERR, open.stream, "warn\n");
  agent_->Send(Kind::kEvent, CSB_EVENT_PROGRESS, open.stream, R"({"message":"half"})");
  agent_->Send(Kind::kDone, 0, open.stream, ProgramDone(3));
  const AgentOutcome outcome = sink.Wait();
  EXPECT_EQ(outcome.code, CSB_OK);
  EXPECT_THAT(outcome.result, HasSubstr(R"("exit_code":3)"));
  EXPECT_EQ(sink.output(CSB_STREAM_STDOUT), "uid=1000\n");
  EXPECT_EQ(sink.output(CSB_STREAM_STDERR), "warn\n");
  ASSERT_EQ(sink.events().size(), 1u);
  EXPECT_EQ(channel_->running(), 0u);
}

TEST_F(ChannelTest, NothingStartsBeforeHello) {
  Connect();
  RecordingSink sink;
  AgentStream stream;
  const Status started = channel_->Start({.op = "shell"}, &sink, &stream);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, CSB_E_NO_SANDBOX);
  EXPECT_THAT(started.error().message, HasSubstr("alice-1"));
}

TEST_F(ChannelTest, HelloThatDoesNotComeEndsTheChannel) {
  Connect({.hello_timeout = 50ms});
  auto why = end_.Wait();
  ASSERT_TRUE(why);
  EXPECT_THAT(why->message, HasSubstr("alice-1 did not say hello"));
}

TEST_F(ChannelTest, AnotherProtocolVersionSaysBothVersions) {
  Connect();
  agent_->Send(Kind::kHello, 0, 0, R"({"proto":7,"agent":"9.0.0","boot_id":"ab"})");
  auto why = end_.Wait();
  ASSERT_TRUE(why);
  EXPECT_THAT(why->message, HasSubstr("version 7"));
  EXPECT_THAT(why->message, HasSubstr("this host version 1"));
  EXPECT_THAT(why->hint, HasSubstr("restart"));
}

TEST_F(ChannelTest, FramesArriveByteByByte) {
  Connect();
  std::string bytes;
  protocol::AppendFrame(bytes, Kind::kHello, 0, 0, kHelloText);
  for (const char byte : bytes) agent_->SendRaw({&byte, 1});
  agent_->Expect(Kind::kWelcome);
  ASSERT_TRUE(ready_.Wait());
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell", .credit = 10}, &sink, &stream));
  const uint32_t id = agent_->Expect(Kind::kOpen).stream;
  bytes.clear();
  protocol::AppendFrame(bytes, Kind::kOutput, CSB_STREAM_STDOUT, id, "abc");
  protocol::AppendFrame(bytes, Kind::kDone, 0, id, ProgramDone());
  for (const char byte : bytes) agent_->SendRaw({&byte, 1});
  EXPECT_EQ(sink.Wait().code, CSB_OK);
  EXPECT_EQ(sink.output(CSB_STREAM_STDOUT), "abc");
}

TEST_F(ChannelTest, LossEndsEachOperationOnceAsGone) {
  Ready();
  RecordingSink sinks[3];
  AgentStream streams[3];
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(channel_->Start({.op = "shell"}, &sinks[i], &streams[i]));
  agent_->Close();
  for (auto& sink : sinks) {
    const AgentOutcome outcome = sink.Wait();
    EXPECT_EQ(outcome.code, CSB_E_GONE);
    EXPECT_THAT(outcome.message, HasSubstr("sandbox alice-1 ended"));
  }
  ASSERT_TRUE(end_.Wait());
  // What comes after is harmless.
  streams[0].Cancel(CSB_E_CANCELLED);
  streams[0].Credit(5);
  EXPECT_TRUE(streams[0].Input("x", true));
  RecordingSink late;
  AgentStream stream;
  EXPECT_EQ(channel_->Start({.op = "shell"}, &late, &stream).error().code, CSB_E_NO_SANDBOX);
}

TEST_F(ChannelTest, ResultSentRightBeforeTheEndStillCounts) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell"}, &sink, &stream));
  const uint32_t id = agent_->Expect(Kind::kOpen).stream;
  agent_->Send(Kind::kDone, 0, id, ProgramDone());
  agent_->Close();
  EXPECT_EQ(sink.Wait().code, CSB_OK);
}

TEST_F(ChannelTest, CancelIsSentOnceAndTheResultStillComes) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "execute"}, &sink, &stream));
  const uint32_t id = agent_->Expect(Kind::kOpen).stream;
  stream.Cancel(CSB_E_CANCELLED);
  stream.Cancel(CSB_E_DEADLINE);
  const auto cancel = agent_->Expect(Kind::kCancel);
  EXPECT_EQ(cancel.stream, id);
  EXPECT_EQ(cancel.payload, R"({"cause":"cancelled"})");
  EXPECT_FALSE(agent_->Next(50ms)) << "a second cancel went out";
  agent_->Send(Kind::kDone, 0, id, ProgramDone(130, "cancelled"));
  EXPECT_THAT(sink.Wait().result, HasSubstr("cancelled"));
  stream.Cancel(CSB_E_CANCELLED);
}

TEST_F(ChannelTest, AgentThatIgnoresADeadlineLosesItsChannel) {
  Ready({.cancel_grace = 50ms, .end_grace = 1500ms});
  RecordingSink sink, other;
  AgentStream stream, other_stream;
  ASSERT_TRUE(channel_->Start({.op = "shell", .timeout_ms = 1500}, &sink, &stream));
  ASSERT_TRUE(channel_->Start({.op = "shell"}, &other, &other_stream));
  agent_->Expect(Kind::kOpen);
  agent_->Expect(Kind::kOpen);
  EXPECT_EQ(agent_->Expect(Kind::kCancel).payload, R"({"cause":"deadline"})");
  const auto ping = agent_->Expect(Kind::kPing);
  agent_->Send(Kind::kPong, 0, 0, ping.payload);
  const AgentOutcome outcome = sink.Wait();
  EXPECT_EQ(outcome.code, CSB_E_DEADLINE);
  EXPECT_THAT(outcome.message, HasSubstr("Execution timed out after 1.5 s"));
  EXPECT_THAT(end_.Wait()->message, HasSubstr("did not end shell when asked to"));
  EXPECT_EQ(other.Wait().code, CSB_E_GONE);
}

TEST_F(ChannelTest, HungAgentIsNoticedAfterACancel) {
  Ready({.cancel_grace = 20ms, .end_grace = 100ms});
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell"}, &sink, &stream));
  stream.Cancel(CSB_E_CANCELLED);
  const AgentOutcome outcome = sink.Wait();
  EXPECT_EQ(outcome.code, CSB_E_CANCELLED);
  EXPECT_THAT(outcome.message, HasSubstr("alice-1 does not answer"));
}

TEST_F(ChannelTest, IdleChannelSendsNothing) {
  Ready({.cancel_grace = 1ms, .end_grace = 2ms});
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell", .timeout_ms = 10'000}, &sink, &stream));
  agent_->Send(Kind::kDone, 0, agent_->Expect(Kind::kOpen).stream, ProgramDone());
  sink.Wait();
  EXPECT_FALSE(agent_->Next(100ms));
}

TEST_F(ChannelTest, PingIsAnswered) {
  Ready();
  agent_->SendU64(Kind::kPing, 0, 42);
  EXPECT_EQ(protocol::LoadU64(agent_->Expect(Kind::kPong).payload.data()), 42u);
}

TEST_F(ChannelTest, SmallCreditsShareAFrame) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell", .credit = 100}, &sink, &stream));
  const uint32_t id = agent_->Expect(Kind::kOpen).stream;
  agent_->Send(Kind::kOutput, CSB_STREAM_STDOUT, id, std::string(40, 'x'));
  ASSERT_TRUE(sink.WaitOutput(CSB_STREAM_STDOUT, 40));
  stream.Credit(40);  // the agent still has 60
  EXPECT_FALSE(agent_->Next(50ms));
  agent_->Send(Kind::kOutput, CSB_STREAM_STDOUT, id, std::string(60, 'x'));
  EXPECT_EQ(protocol::LoadU64(agent_->Expect(Kind::kCredit).payload.data()), 40u);
  agent_->Send(Kind::kDone, 0, id, ProgramDone());
  sink.Wait();
}

TEST_F(ChannelTest, InputWaitsForCreditAndArrivesInOrder) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(
      channel_->Start({.op = "file_write", .args = R"({"path":"f"})", .input = true}, &sink, &stream));
  const auto open = agent_->Expect(Kind::kOpen);
  EXPECT_EQ(open.flags, protocol::kFlagInputFollows);
  EXPECT_EQ(stream.Input("early", false).error().code, CSB_E_INVALID);
  agent_->SendU64(Kind::kInputCredit, open.stream, 200'000);
  EXPECT_EQ(sink.TakeInputCredit(200'000), 200'000u);
  std::string sent(150'000, 'a');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7);
  ASSERT_TRUE(stream.Input(sent, true));
  std::string got;
  for (;;) {
    const auto input = agent_->Expect(Kind::kInput);
    got += input.payload;
    if (input.flags == protocol::kFlagEndOfInput || input.kind != Kind::kInput) break;
  }
  EXPECT_TRUE(got == sent);
  EXPECT_FALSE(stream.Input("late", false));
  agent_->Send(Kind::kDone, 0, open.stream, R"({"code":0,"result":{"path":"/workspace/f","size":150000}})");
  EXPECT_EQ(sink.Wait().code, CSB_OK);
}

// An agent that grants without end and reads nothing must not fill the host.
TEST_F(ChannelTest, EndlessInputCreditIsPassedOnInWindows) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "file_write", .input = true}, &sink, &stream));
  const uint32_t id = agent_->Expect(Kind::kOpen).stream;
  agent_->SendU64(Kind::kInputCredit, id, UINT64_MAX);
  agent_->SendU64(Kind::kInputCredit, id, UINT64_MAX);
  const std::string piece(64 << 10, 'z');
  uint64_t total = 0;
  // Until the socket is full and the window used up: then no credit comes any more.
  for (;;) {
    const uint64_t credit = sink.TakeInputCredit(piece.size());
    if (credit == 0) break;
    ASSERT_TRUE(stream.Input(std::string_view(piece).substr(0, credit), false));
    total += credit;
    ASSERT_LE(total, 8u << 20) << "more than a window waits for an agent that does not read";
    // The next grant, if there is one, is already on its way.
    for (int i = 0; i < 20 && sink.input_credit() == 0; ++i) std::this_thread::sleep_for(1ms);
    if (sink.input_credit() == 0) break;
  }
  EXPECT_GE(total, AgentChannel::kInputWindow);
  // Once the agent reads, it goes on.
  uint64_t read = 0;
  while (read < total) read += agent_->Expect(Kind::kInput).payload.size();
  EXPECT_GT(sink.TakeInputCredit(1), 0u);
  agent_->Send(Kind::kDone, 0, id, R"({"code":0,"result":{"path":"/workspace/f","size":0}})");
  EXPECT_EQ(sink.Wait().code, CSB_OK);
}

TEST_F(ChannelTest, OperationsOfManyThreadsDoNotMix) {
  Ready();
  constexpr int kThreads = 4, kEach = 200;
  std::thread agent([&] {
    for (int i = 0; i < kThreads * kEach; ++i) {
      const auto open = agent_->Expect(Kind::kOpen);
      if (open.kind != Kind::kOpen) return;
      auto doc = json::ParseObject(open.payload);
      agent_->Send(Kind::kOutput, CSB_STREAM_STDOUT, open.stream,
                   json::GetString(*json::Find(*doc, "args"), "command").value());
      agent_->Send(Kind::kDone, 0, open.stream, ProgramDone());
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        RecordingSink sink;
        AgentStream stream;
        const std::string text = std::to_string(t) + ":" + std::to_string(i);
        ASSERT_TRUE(channel_->Start(
            {.op = "shell", .args = R"({"command":")" + text + R"("})", .timeout_ms = 60'000, .credit = 100},
            &sink, &stream));
        if (i % 3 == 0) stream.Credit(10);
        ASSERT_EQ(sink.Wait().code, CSB_OK);
        ASSERT_EQ(sink.output(CSB_STREAM_STDOUT), text);
      }
    });
  for (auto& thread : threads) thread.join();
  agent.join();
}

TEST_F(ChannelTest, EndFromAnotherThreadWhileOperationsStart) {
  Ready();
  std::atomic<int> started = 0, done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (;;) {
        RecordingSink sink;
        AgentStream stream;
        if (!channel_->Start({.op = "shell", .timeout_ms = 1000}, &sink, &stream)) return;
        ++started;
        stream.Cancel(CSB_E_CANCELLED);
        EXPECT_EQ(sink.Wait().code, CSB_E_GONE);
        ++done;
      }
    });
  while (started < 3) std::this_thread::yield();
  channel_->End({CSB_E_CANCELLED, "stopped by its owner", "", false});
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(started, done);
  EXPECT_THAT(end_.Wait()->message, HasSubstr("stopped by its owner"));
}

TEST_F(ChannelTest, ShutdownIsSent) {
  Ready();
  channel_->Shutdown();
  agent_->Expect(Kind::kShutdown);
}

TEST_F(ChannelTest, RequestLargerThanAFrameIsRefusedHere) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  const std::string args = R"({"code":")" + std::string(17 << 20, 'x') + R"("})";
  EXPECT_EQ(channel_->Start({.op = "execute", .args = args}, &sink, &stream).error().code, CSB_E_TOO_LARGE);
}

TEST_F(ChannelTest, LargeRequestArrivesWhole) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  const std::string code(6 << 20, 'y');
  ASSERT_TRUE(channel_->Start({.op = "execute", .args = R"({"code":")" + code + R"("})"}, &sink, &stream));
  const auto open = agent_->Expect(Kind::kOpen);
  EXPECT_TRUE(open.payload.find(code) != std::string::npos);
  agent_->Send(Kind::kDone, 0, open.stream, ProgramDone());
  EXPECT_EQ(sink.Wait().code, CSB_OK);
}

}  // namespace
}  // namespace csb::testing

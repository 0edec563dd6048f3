// SPDX-License-Identifier: Apache-2.0
//
// What a channel takes for life, and when it gives one up of which nothing is heard.
#include <gmock/gmock.h>

#include <chrono>
#include <string>
#include <thread>

#include "plugins/common/agent_channel_testing.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using namespace csb::testing;  // NOLINT: a test
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

// Long enough for an answer on a busy machine.
constexpr auto kSilence = 400ms;

class SilenceTest : public ChannelTest {
 protected:
  void ExpectGivenUp() {
    const auto why = end_.Wait();
    ASSERT_TRUE(why) << "silence is not noticed";
    EXPECT_EQ(why->code, CSB_E_UNAVAILABLE);
    EXPECT_EQ(why->message, "nothing is heard of the sandbox alice-1 any more");
    EXPECT_TRUE(why->retryable);
    EXPECT_TRUE(channel_->silent());
  }
};

TEST_F(SilenceTest, APeerThatIsGoneIsGivenUp) {
  Ready({.silence = 50ms});
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell"}, &sink, &stream));
  const AgentOutcome outcome = sink.Wait();
  EXPECT_EQ(outcome.code, CSB_E_GONE);
  EXPECT_THAT(outcome.message, HasSubstr("nothing is heard of the sandbox alice-1"));
  ExpectGivenUp();
}

TEST_F(SilenceTest, APeerThatAnswersPingsLivesOn) {
  Ready({.silence = kSilence});
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell"}, &sink, &stream));
  const uint32_t id = agent_->Expect(Kind::kOpen).stream;
  for (int i = 0; i < 3; ++i) agent_->Send(Kind::kPong, 0, 0, agent_->Expect(Kind::kPing).payload);
  agent_->Send(Kind::kDone, 0, id, ProgramDone());
  EXPECT_EQ(sink.Wait().code, CSB_OK);
  EXPECT_TRUE(channel_->ready());
  EXPECT_FALSE(channel_->silent());
}

// In place of the answer: the channel then waits from the beginning again.
TEST_F(SilenceTest, OutputCountsAsLife) {
  Ready({.silence = kSilence});
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell", .credit = 1 << 20}, &sink, &stream));
  const uint32_t id = agent_->Expect(Kind::kOpen).stream;
  agent_->Expect(Kind::kPing);
  const auto sent = Clock::now();
  agent_->Send(Kind::kOutput, CSB_STREAM_STDOUT, id, "alive");
  ASSERT_TRUE(sink.WaitOutput(CSB_STREAM_STDOUT, 5));
  ExpectGivenUp();
  EXPECT_GE(Clock::now() - sent, 2 * kSilence);
  EXPECT_EQ(sink.Wait().code, CSB_E_GONE);
}

// Reads as slowly as a narrow line would have it, and says nothing until it has all of it.
TEST_F(SilenceTest, TakingWhatWaitsCountsAsLife) {
  Ready({.silence = kSilence});
  RecordingSink sink;
  AgentStream stream;
  const std::string args = R"({"command":")" + std::string(3 << 20, 'x') + R"("})";
  ASSERT_TRUE(channel_->Start({.op = "shell", .args = args}, &sink, &stream));
  protocol::FrameDecoder decoder;
  const auto begun = Clock::now();
  uint32_t id = 0;
  std::string piece(128 << 10, '\0');
  while (id == 0) {
    std::this_thread::sleep_for(100ms);  // the line's pace
    const ssize_t n = ::recv(agent_->fd(), piece.data(), piece.size(), 0);
    ASSERT_GT(n, 0) << "given up while it reads";
    decoder.Append({piece.data(), static_cast<size_t>(n)});
    while (const auto frame = decoder.Next())
      if (frame->kind == Kind::kOpen) id = frame->stream;
  }
  EXPECT_GT(Clock::now() - begun, 3 * kSilence);
  agent_->Send(Kind::kDone, 0, id, ProgramDone());
  EXPECT_EQ(sink.Wait().code, CSB_OK);
}

TEST_F(SilenceTest, AnIdleChannelIsAskedOnlyWhenSomebodyWantsToKnow) {
  Ready({.silence = kSilence});
  EXPECT_FALSE(agent_->Next(kSilence * 5 / 2)) << "an idle channel sends nothing";
  channel_->Probe();
  channel_->Probe();  // one question stands for both
  agent_->Send(Kind::kPong, 0, 0, agent_->Expect(Kind::kPing).payload);
  EXPECT_FALSE(agent_->Next(kSilence * 5 / 2)) << "it has answered";
  EXPECT_TRUE(channel_->ready());
  channel_->Probe();
  agent_->Expect(Kind::kPing);
  ExpectGivenUp();
}

TEST_F(SilenceTest, ANudgeTellsOfLifeAndEndsNothing) {
  Ready({.silence = 50ms});
  channel_->Nudge();
  channel_->Nudge();  // one question stands for both
  const std::string question(agent_->Expect(Kind::kPing).payload);
  EXPECT_FALSE(agent_->Next(200ms)) << "nothing more, and no end";
  EXPECT_TRUE(channel_->ready());
  const auto since = std::chrono::steady_clock::now();
  EXPECT_FALSE(channel_->HeardSince(since));
  agent_->Send(Kind::kPong, 0, 0, question);
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell"}, &sink, &stream));
  agent_->Send(Kind::kDone, 0, agent_->Expect(Kind::kOpen).stream, ProgramDone());
  ASSERT_EQ(sink.Wait().code, CSB_OK) << "which comes after the answer";
  EXPECT_TRUE(channel_->HeardSince(since));
}

TEST_F(SilenceTest, WithoutALimitNothingIsAsked) {
  Ready();
  channel_->Nudge();
  channel_->Probe();
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = "shell"}, &sink, &stream));
  agent_->Send(Kind::kDone, 0, agent_->Expect(Kind::kOpen).stream, ProgramDone());
  EXPECT_EQ(sink.Wait().code, CSB_OK);
  EXPECT_FALSE(agent_->Next(100ms));
}

}  // namespace
}  // namespace csb

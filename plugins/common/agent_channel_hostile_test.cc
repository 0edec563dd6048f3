// SPDX-License-Identifier: Apache-2.0
//
// An agent taken over by the code it runs: whatever it sends ends the channel with a reason that
// names the sandbox, and each operation exactly once.
#include <gmock/gmock.h>

#include <functional>
#include <random>

#include "plugins/common/agent_channel.h"
#include "plugins/common/agent_channel_testing.h"

namespace csb::testing {
namespace {

using ::testing::HasSubstr;

struct Attack {
  const char* name;
  const char* op;
  std::function<void(FakeAgent&, uint32_t stream)> send;
  const char* reason;
};

std::string Raw(Kind kind, uint8_t flags, uint32_t stream, uint32_t length) {
  char header[protocol::kHeaderSize];
  protocol::EncodeHeader(header, kind, flags, stream, length);
  return {header, sizeof header};
}

std::string Done(const std::string& result) { return R"({"code":0,"result":)" + result + "}"; }

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

const Attack kAttacks[] = {
    {"Garbage", "shell", [](FakeAgent& a, uint32_t) { a.SendRaw("GET / HTTP/1.1\r\n\r\n"); }, "frame"},
    {"HugeFrame", "shell", [](FakeAgent& a, uint32_t s) { a.SendRaw(Raw(Kind::kDone, 0, s, 0xFFFFFFFF)); },
     "bytes"},
    {"ReservedBytes", "shell",
     [](FakeAgent& a, uint32_t s) {
       std::string raw = Raw(Kind::kDone, 0, s, 0);
       raw[6] = 1;
       a.SendRaw(raw);
     },
     "reserved"},
    {"SecondHello", "shell", [](FakeAgent& a, uint32_t) { a.Send(Kind::kHello, 0, 0, kHelloText); },
     "never sends"},
    {"HostsFrame", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kOpen, 0, s, "{}"); }, "never sends"},
    {"UnknownStream", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kOutput, 1, s + 1, "x"); },
     "not open"},
    {"ChannelStream", "shell", [](FakeAgent& a, uint32_t) { a.Send(Kind::kDone, 0, 0, ProgramDone()); },
     "not open"},
    {"OutputAfterDone", "shell",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kDone, 0, s, ProgramDone());
       a.Send(Kind::kOutput, 1, s, "x");
     },
     "not open"},
    {"DoneTwice", "shell",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kDone, 0, s, ProgramDone());
       a.Send(Kind::kDone, 0, s, ProgramDone());
     },
     "not open"},
    {"OutputBeyondCredit", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kOutput, 1, s, std::string(1001, 'x')); }, "credit"},
    {"OutputBeyondCreditInPieces", "shell",
     [](FakeAgent& a, uint32_t s) {
       for (int i = 0; i < 11; ++i) a.Send(Kind::kOutput, 1, s, std::string(100, 'x'));
     },
     "credit"},
    {"UnknownOutput", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kOutput, 9, s, "x"); }, "OUTPUT"},
    {"DataFromShell", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kOutput, 3, s, "x"); }, "OUTPUT"},
    {"DataBeforeMeta", "file_read", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kOutput, 3, s, "x"); },
     "data"},
    {"DataBeyondMeta", "file_read",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kEvent, CSB_EVENT_META, s, R"({"path":"/f","size":9,"offset":0,"length":2})");
       a.Send(Kind::kOutput, 3, s, "xyz");
     },
     "data"},
    {"MetaTwice", "file_read",
     [](FakeAgent& a, uint32_t s) {
       for (int i = 0; i < 2; ++i)
         a.Send(Kind::kEvent, CSB_EVENT_META, s, R"({"path":"/f","size":9,"offset":0,"length":2})");
     },
     "META"},
    {"MetaNegative", "file_read",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kEvent, CSB_EVENT_META, s, R"({"path":"/f","size":9,"offset":0,"length":-2})");
     },
     "length"},
    {"EventNotJson", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kEvent, 3, s, "{"); }, "JSON"},
    {"EventNotUtf8", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kEvent, 3, s, "{\"message\":\"\xFF\"}"); }, "JSON"},
    {"EventWrongShape", "shell",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kEvent, CSB_EVENT_DROPPED, s, R"({"stream":1,"bytes":-1})");
     },
     "dropped"},
    {"EventsWithoutEnd", "shell",
     [](FakeAgent& a, uint32_t s) {
       const std::string text = R"({"message":")" + std::string(60'000, 'm') + R"("})";
       for (int i = 0; i < 100; ++i) a.Send(Kind::kEvent, CSB_EVENT_PROGRESS, s, text);
     },
     "without end"},
    {"ResultsWithoutEnd", "execute",
     [](FakeAgent& a, uint32_t s) {
       const std::string text =
           R"({"kind":"display","data":{"text/plain":")" + std::string(1'000'000, 'm') + R"("}})";
       for (int i = 0; i < 10; ++i) a.Send(Kind::kEvent, CSB_EVENT_RESULT, s, text);
     },
     "without end"},
    {"ResultWrongShape", "execute",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kEvent, CSB_EVENT_RESULT, s, R"({"kind":1,"data":[]})"); },
     "shown result"},
    {"OutputOfAnInput", "process_input",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kOutput, CSB_STREAM_STDOUT, s, "x"); }, "OUTPUT"},
    {"ProcessWithoutHandle", "process_wait",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kDone, 0, s, R"({"code":0,"result":{"state":"running"}})");
     },
     "handle"},
    {"ProcessesNoList", "process_list",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, R"({"code":0,"result":{"processes":{}}})"); },
     "processes"},
    {"ContextsNoList", "context_list",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, R"({"code":0,"result":{"contexts":[1]}})"); },
     "context"},
    {"DoneNotJson", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, "nonsense"); }, "JSON"},
    {"DoneDeep", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, std::string(100'000, '[')); }, "deeper"},
    {"DoneEmpty", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, ""); }, "code"},
    {"DoneWithoutResult", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, R"({"code":0})"); }, "result"},
    {"DoneResultEmpty", "shell", [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, Done("{}")); },
     "exit_code"},
    {"DoneExitCode", "shell",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kDone, 0, s, Replace(ProgramDone(), R"("exit_code":0)", R"("exit_code":"0")"));
     },
     "exit_code"},
    {"DoneCause", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, ProgramDone(0, "because")); }, "cause"},
    {"DoneTime", "shell",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kDone, 0, s,
              Replace(ProgramDone(), R"("execution_time":0.01)", R"("execution_time":-1)"));
     },
     "execution_time"},
    {"DoneCount", "shell",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kDone, 0, s, Replace(ProgramDone(), R"("stdout_bytes":0)", R"("stdout_bytes":-5)"));
     },
     "stdout_bytes"},
    {"DoneCodeOfTheHost", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, R"({"code":15,"message":"none"})"); },
     "code 15"},
    {"DoneCodeUnknown", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, R"({"code":-7,"message":"none"})"); },
     "code -7"},
    {"DoneErrorWithoutMessage", "shell",
     [](FakeAgent& a, uint32_t s) { a.Send(Kind::kDone, 0, s, R"({"code":6})"); }, "message"},
    {"ListEntry", "file_list",
     [](FakeAgent& a, uint32_t s) {
       a.Send(Kind::kDone, 0, s,
              Done(R"({"path":"/","text":"","entries":[{"name":"x","type":"portal","size":1}]})"));
     },
     "type"},
    {"PongWithoutPing", "shell", [](FakeAgent& a, uint32_t) { a.SendU64(Kind::kPong, 0, 1); }, "PONG"},
    {"InputCreditUnknown", "shell", [](FakeAgent& a, uint32_t s) { a.SendU64(Kind::kInputCredit, s + 5, 1); },
     "not open"},
};

class HostileTest : public ChannelTest, public ::testing::WithParamInterface<Attack> {};

TEST_P(HostileTest, EndsTheChannelAndNamesTheSandbox) {
  Ready();
  RecordingSink sink;
  AgentStream stream;
  ASSERT_TRUE(channel_->Start({.op = GetParam().op, .credit = 1000}, &sink, &stream));
  GetParam().send(*agent_, agent_->Expect(Kind::kOpen).stream);
  auto why = end_.Wait();
  ASSERT_TRUE(why);
  EXPECT_THAT(why->message, HasSubstr("alice-1"));
  EXPECT_THAT(why->message, HasSubstr(GetParam().reason));
  sink.Wait();
  EXPECT_FALSE(channel_->ready());
}

INSTANTIATE_TEST_SUITE_P(, HostileTest, ::testing::ValuesIn(kAttacks),
                         [](const auto& info) { return std::string(info.param.name); });

const std::pair<const char*, const char*> kBadHellos[] = {
    {"NotJson", "hello"},
    {"Array", "[1]"},
    {"NoProto", R"({"agent":"1","boot_id":"ab"})"},
    {"NoBootId", R"({"proto":1,"agent":"1"})"},
    {"BootIdNotHex", R"({"proto":1,"agent":"1","boot_id":"../../x"})"},
    {"AgentWithEscape", R"({"proto":1,"agent":"\u001b[31m","boot_id":"ab"})"},
};
class HelloTest : public ChannelTest,
                  public ::testing::WithParamInterface<std::pair<const char*, const char*>> {};
TEST_P(HelloTest, IsRefused) {
  Connect();
  agent_->Send(Kind::kHello, 0, 0, GetParam().second);
  ASSERT_TRUE(end_.Wait());
  EXPECT_FALSE(channel_->ready());
}
INSTANTIATE_TEST_SUITE_P(, HelloTest, ::testing::ValuesIn(kBadHellos),
                         [](const auto& info) { return std::string(info.param.first); });

// Random frames, mostly well formed: nothing crashes, everything ends.
TEST_F(ChannelTest, RandomFramesDoNoHarm) {
  std::mt19937 random(20240101);
  for (int round = 0; round < 60; ++round) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    FakeAgent agent{UniqueFd(fds[1])};
    Eventually<bool> ready, ended;
    auto channel = AgentChannel::Create(
        *reactor_, UniqueFd(fds[0]), {.name = "random"},
        {[&](const AgentHello&) { ready.Set(true); }, [&](const Error&) { ended.Set(true); }});
    agent.Hello();
    ASSERT_TRUE(ready.Wait());
    RecordingSink sinks[2];
    AgentStream streams[2];
    ASSERT_TRUE(channel->Start({.op = "shell", .credit = 5000}, &sinks[0], &streams[0]));
    ASSERT_TRUE(channel->Start({.op = "file_read", .credit = 5000}, &sinks[1], &streams[1]));
    static constexpr uint8_t kKinds[] = {32, 32, 32, 33, 34, 35, 48};
    static const std::string kPayloads[] = {"",
                                            "{}",
                                            ProgramDone(),
                                            R"({"message":"m"})",
                                            std::string(200, 'x'),
                                            R"({"path":"/f","size":9,"offset":0,"length":900})"};
    for (int i = 0; i < 40; ++i) {
      const auto kind = static_cast<Kind>(kKinds[random() % std::size(kKinds)]);
      if (protocol::MaxPayload(kind) == 8)
        agent.SendU64(kind, random() % 3, random());
      else
        agent.Send(kind, static_cast<uint8_t>(random() % 4), random() % 4,
                   kPayloads[random() % std::size(kPayloads)]);
    }
    agent.Close();
    ASSERT_TRUE(ended.Wait());
    for (auto& sink : sinks) sink.Wait();
  }
}

}  // namespace
}  // namespace csb::testing

// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/readback.h"

#include <gmock/gmock.h>

#include <thread>

#include "plugins/common/agent_channel_testing.h"
#include "plugins/common/json_testing.h"

namespace csb {
namespace {

using ::testing::HasSubstr;

constexpr char kReport[] =
    R"({"memory_limit":536870912,"memory_swap_limit":536870912,"memory_by":"cgroup v1 memory","cpu_cores":0.5,
    "cpu_by":"cgroup v1 cpu","pids_limit":264,"pids_by":"cgroup v1 pids","workspace_bytes":1073741824,
    "interfaces":["lo","eth0"],"unreachable_routes":["10.0.0.0/8","fc00::/7"],"seccomp":2,"no_new_privs":1,
    "uid_map":"0 0 4294967295","cap_effective":"0000000000000000"})";

ReadBackContext Context() {
  return {.limits = {.memory = 512 << 20, .cpu = 0.5, .pids = 256, .disk = 1 << 30, .network = "bridge"},
          .blocked = true,
          .storage = "overlay2",
          .words = {"a quota", "a bridge", "joined as it is", "of the engine", "no uids are mapped"}};
}

TEST(ReadBack, WhatHoldsIsSaidToHold) {
  auto e = EnforcedOf(kReport, Context());
  ASSERT_TRUE(e) << e.error().message;
  for (const char* key :
       {"memory", "cpu", "pids", "disk", "network", "seccomp", "no_new_privs", "capabilities"})
    EXPECT_TRUE((*e)[key].enforced) << key;
  EXPECT_EQ((*e)["memory"].value, "512 MiB");
  EXPECT_EQ((*e)["memory"].by, "cgroup v1 memory");
  EXPECT_EQ((*e)["pids"].value, "264");
  EXPECT_EQ((*e)["network"].value, "bridge");
  EXPECT_THAT((*e)["network"].by, HasSubstr("2 private ranges"));
  EXPECT_FALSE((*e)["userns"].enforced) << "the whole range mapped to itself is no user namespace";
}

// What is missing must never look as if it held.
TEST(ReadBack, AnEmptyReportHoldsNothing) {
  auto e = EnforcedOf("{}", Context());
  ASSERT_TRUE(e);
  for (const auto& [key, value] : *e) EXPECT_EQ(value.enforced, key == "network") << key;
  EXPECT_EQ((*e)["network"].value, "none") << "no interface at all is a loopback less";
  EXPECT_EQ((*e)["memory"].by, "the engine or its kernel does not enforce it");
  EXPECT_THAT((*e)["disk"].by, HasSubstr("overlay2"));
  auto unlimited = EnforcedOf("{}", {});
  ASSERT_TRUE(unlimited);
  EXPECT_EQ((*unlimited)["memory"].by, "no limit is configured");
}

TEST(ReadBack, HalfOfAProtectionIsNone) {
  auto context = Context();
  const auto one = [&](const std::string& report, const char* key) {
    auto e = EnforcedOf(report, context);
    EXPECT_TRUE(e) << report;
    return e ? (*e)[key] : Enforcement{true, "?", "?"};
  };
  EXPECT_FALSE(one(R"({"interfaces":["lo","eth0"],"unreachable_routes":[]})", "network").enforced);
  EXPECT_FALSE(one(R"({"seccomp":1})", "seccomp").enforced);
  EXPECT_FALSE(one(R"({"no_new_privs":0})", "no_new_privs").enforced);
  EXPECT_FALSE(one(R"({"cap_effective":"00000000a80425fb"})", "capabilities").enforced);
  EXPECT_FALSE(one(R"({"cap_effective":""})", "capabilities").enforced);
  EXPECT_FALSE(one(R"({"workspace_bytes":1099511627776})", "disk").enforced) << "that is the whole disk";
  EXPECT_THAT(one(R"({"memory_limit":1,"memory_swap_limit":2})", "memory").by, HasSubstr("swap not counted"));
  EXPECT_TRUE(one(R"({"uid_map":"0 100000 65536"})", "userns").enforced);
  context.blocked = false;
  EXPECT_FALSE(one(R"({"interfaces":["lo","eth0"],"unreachable_routes":["10.0.0.0/8"]})", "network").enforced)
      << "a named network is joined as it is";
}

TEST(ReadBack, WhatIsNoReportIsAnError) {
  for (const char* bad : {"[]", "null", "1", "{", "not json", "{\"a\":\"\xFF\"}"}) {
    const auto e = EnforcedOf(bad, Context());
    ASSERT_FALSE(e) << bad;
    EXPECT_EQ(e.error().code, CSB_E_UNAVAILABLE);
  }
}

TEST(ReadBack, AnyValueAnywhereIsSurvived) {
  const json::Document report = Json(kReport);
  for (const std::string_view hostile : kHostileJson)
    for (const auto& member : report.GetObject()) {
      json::Document doc = Json(kReport);
      doc[member.name.GetString()].CopyFrom(Json(hostile), doc.GetAllocator());
      auto e = EnforcedOf(json::ToString(doc), Context());
      ASSERT_TRUE(e) << member.name.GetString() << " " << hostile;
    }
}

TEST(ReadBack, TextIsBoundedAndPrintable) {
  const std::string escape = "\\u001b[2J\\n";
  std::string text;
  for (int i = 0; i < 100; ++i) text += escape;
  auto e = EnforcedOf(R"({"memory_limit":1,"memory_swap_limit":1,"memory_by":")" + text + R"(","uid_map":")" +
                          text + R"(","cap_effective":")" + text + "\"}",
                      Context());
  ASSERT_TRUE(e);
  for (const auto& [key, value] : *e)
    for (const std::string& part : {value.value, value.by}) {
      EXPECT_LE(part.size(), 320u) << key;
      for (const char c : part) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << key;
    }
}

// Files on the machine's own disk would end with it, without a word.
TEST(ReadBack, AMachineWithoutItsWorkspaceIsRefused) {
  ReadBackContext context;
  for (const char* report : {R"({"machine":{}})", R"({"workspace_separate":false,"machine":{}})"}) {
    EXPECT_TRUE(EnforcedOf(report, context)) << report;  // of a container it says nothing
    context.machine = true;
    auto e = EnforcedOf(report, context);
    ASSERT_FALSE(e) << report;
    EXPECT_THAT(e.error().message, HasSubstr("not mounted"));
    EXPECT_THAT(e.error().hint, HasSubstr("virtiofsd"));
    context.machine = false;
  }
}

// What its own kernel says of a machine is what bounds it: no group is to be seen there.
TEST(ReadBack, AMachineIsAsLargeAsItsKernelSays) {
  ReadBackContext context = Context();
  context.machine = true;
  const std::string report = R"({"workspace_separate":true,"machine":{"memory":520093696,"processors":2}})";
  auto e = EnforcedOf(report, context);
  ASSERT_TRUE(e) << e.error().message;
  EXPECT_TRUE((*e)["memory"].enforced);
  EXPECT_EQ((*e)["memory"].value, "496 MiB");
  EXPECT_THAT((*e)["memory"].by, HasSubstr("virtual machine"));
  EXPECT_TRUE((*e)["cpu"].enforced);
  EXPECT_EQ((*e)["cpu"].value, "2 cores");
  EXPECT_TRUE((*e)["pids"].enforced);
  EXPECT_EQ((*e)["pids"].value, "own kernel");
  // A container that claims to be one is none.
  auto container = EnforcedOf(report, Context());
  ASSERT_TRUE(container);
  for (const char* key : {"memory", "cpu", "pids"}) EXPECT_FALSE((*container)[key].enforced) << key;
}

TEST(ReadBack, AMachineThatSaysNothingHoldsNothing) {
  ReadBackContext context = Context();
  context.machine = true;
  for (const std::string_view hostile : kHostileJson) {
    auto e = EnforcedOf(R"({"workspace_separate":true,"machine":)" + std::string(hostile) + "}", context);
    ASSERT_TRUE(e) << hostile;
    for (const char* key : {"memory", "cpu"}) EXPECT_FALSE((*e)[key].enforced) << key << " " << hostile;
    auto parts = EnforcedOf(R"({"workspace_separate":true,"machine":{"memory":)" + std::string(hostile) +
                                R"(,"processors":"two"}})",
                            context);
    ASSERT_TRUE(parts) << hostile;
    EXPECT_FALSE((*parts)["cpu"].enforced) << hostile;
  }
}

class SucceedsInsideTest : public csb::testing::ChannelTest {
 protected:
  // What SucceedsInside says when the agent answers so; "" : the agent goes without an answer.
  bool Ask(const std::string& done, const std::string& command = "command -v python3") {
    Ready();
    std::thread agent([&] {
      const auto open = agent_->Expect(csb::testing::Kind::kOpen);
      opened_ = open.payload;
      if (done.empty()) return agent_->Close();
      agent_->Send(csb::testing::Kind::kOutput, 1, open.stream, "/usr/bin/python3\n");
      agent_->Send(csb::testing::Kind::kDone, 0, open.stream, done);
    });
    const bool said = SucceedsInside(*channel_, command);
    agent.join();
    return said;
  }

  std::string opened_;
};

TEST_F(SucceedsInsideTest, AnExitOf0IsASuccess) {
  EXPECT_TRUE(Ask(csb::testing::ProgramDone(0), "test \"$HOME\" = '/x' \\ && echo \n"));
  const json::Document asked = Json(opened_);
  const json::Value* args = json::Find(asked, "args");
  ASSERT_NE(args, nullptr) << opened_;
  EXPECT_EQ(json::GetString(asked, "op"), "shell");
  EXPECT_EQ(json::GetString(*args, "command"), "test \"$HOME\" = '/x' \\ && echo \n") << "as it was given";
}

TEST_F(SucceedsInsideTest, AnotherExitIsNone) { EXPECT_FALSE(Ask(csb::testing::ProgramDone(1))); }
TEST_F(SucceedsInsideTest, AKilledOneIsNone) { EXPECT_FALSE(Ask(csb::testing::ProgramDone(137, "signal"))); }
TEST_F(SucceedsInsideTest, AnErrorIsNone) {
  EXPECT_FALSE(Ask(R"({"code":10,"message":"no such program","hint":"","retryable":false})"));
}
TEST_F(SucceedsInsideTest, AnAgentThatGoesIsNone) { EXPECT_FALSE(Ask("")); }
TEST_F(SucceedsInsideTest, AResultWithoutAnExitIsNone) { EXPECT_FALSE(Ask(R"({"code":0,"result":{}})")); }

}  // namespace
}  // namespace csb

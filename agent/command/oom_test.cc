// SPDX-License-Identifier: Apache-2.0
#include "agent/command/oom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "agent/testing/agent_under_test.h"

namespace csb::agent {
namespace {

TEST(Oom, ReadsBothFormats) {
  EXPECT_EQ(OomCounter::Parse("low 0\nhigh 1\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n"), 2u);
  EXPECT_EQ(OomCounter::Parse("oom_kill_disable 0\nunder_oom 0\noom_kill 12"), 12u);
  EXPECT_FALSE(OomCounter::Parse("oom_kill_disable 0\nunder_oom 0\n"));
  EXPECT_FALSE(OomCounter::Parse("oom_kill x\n"));
  EXPECT_FALSE(OomCounter::Parse(""));
}

TEST(Oom, AKillThatTheCounterKnowsIsOutOfMemoryAndAnotherIsNot) {
  char name[] = "/tmp/oom_test-XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  close(fd);
  std::ofstream(name) << "oom_kill 4\n";
  testing::AgentUnderTest agent({.separate = false, .more = {"--oom-events", name}});
  auto ending = agent.host().Run("shell", R"({"command":"kill -9 $$"})");
  EXPECT_EQ(ending.result_text("cause"), "signal");
  EXPECT_EQ(ending.result_int("exit_code"), 137);
  const std::string count = std::string("echo oom_kill 5 > ") + name + "; ";
  ending = agent.host().Run("shell", "{\"command\":\"" + count + "kill -9 $$\"}");
  EXPECT_EQ(ending.result_text("cause"), "oom");
  EXPECT_EQ(ending.result_int("exit_code"), 137);
  EXPECT_THAT(ending.result_text("message"), ::testing::HasSubstr("OOM killed"));
  EXPECT_THAT(ending.result_text("hint"), ::testing::HasSubstr("*_SANDBOX_MEMORY"));
  // A program that survives what its child did to memory is not out of memory itself.
  ending = agent.host().Run("shell", "{\"command\":\"echo oom_kill 6 > " + std::string(name) + "; exit 1\"}");
  EXPECT_EQ(ending.result_text("cause"), "exit");
  unlink(name);
}

}  // namespace
}  // namespace csb::agent

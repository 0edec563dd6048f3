// SPDX-License-Identifier: Apache-2.0
#include "agent/command/oom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
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

// What a killed command leaves in memory: the files of a control group of either version, beside the counter.
TEST(Oom, TellsWhatIsStillHeld) {
  char folder[] = "/tmp/oom_test-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/";
  const OomCounter counter(path + "memory.events");
  EXPECT_FALSE(counter.Usage());
  std::ofstream(path + "memory.usage_in_bytes") << "4096\n";
  EXPECT_EQ(counter.Usage(), 4096u);
  std::ofstream(path + "memory.current") << "8192\n";
  EXPECT_EQ(counter.Usage(), 8192u);
  std::ofstream(path + "memory.events") << "oom_kill 4\n";
  testing::AgentUnderTest agent({.separate = false, .more = {"--oom-events", path + "memory.events"}});
  auto ending = agent.host().Run("shell", R"({"command":"kill -9 $$"})");
  EXPECT_EQ(ending.result_int("memory_used"), -1) << "no kill for memory";
  ending =
      agent.host().Run("shell", "{\"command\":\"echo oom_kill 5 > " + path + "memory.events; kill -9 $$\"}");
  EXPECT_EQ(ending.result_int("memory_used"), 8192);
  std::filesystem::remove_all(folder);
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

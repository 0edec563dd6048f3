// SPDX-License-Identifier: Apache-2.0
#include "agent/command/python.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/testing/agent_under_test.h"

namespace csb::agent {
namespace {

using ::testing::HasSubstr;

class Python : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/python_test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    chmod(name, 0755);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  // A python3 that says where it is and what it was given.
  std::string Put(const std::string& folder, mode_t mode = 0755) {
    std::filesystem::create_directories(root_ + "/" + folder);
    std::string path = root_ + "/" + folder + "/python3";
    std::ofstream(path) << "#!/bin/sh\necho \"$0\"\n[ -f \"$1\" ] && cat \"$1\"\n";
    chmod(path.c_str(), mode);
    return path;
  }
  std::string Chosen(const std::string& path, const Identity& identity = {}) {
    CommandSettings settings;
    settings.workspace = root_ + "/workspace";
    settings.python_of_path = true;
    settings.env = {"PATH=" + path};
    ChoosePython(settings, identity);
    return settings.python;
  }
  std::string root_;
};

TEST_F(Python, IsTheFirstOnPathThatIsAProgram) {
  Put("plain", 0644);
  std::filesystem::create_directories(root_ + "/folder/python3");
  const std::string first = Put("first");
  Put("second");
  EXPECT_EQ(Chosen(root_ + "/none:" + root_ + "/plain::" + root_ + "/folder:" + root_ + "/first:" + root_ +
                   "/second"),
            first);
  EXPECT_EQ(Chosen(root_ + "/none"), "");
}

TEST_F(Python, IsNeverOneThatCodeLeftInTheWorkspace) {
  Put("workspace/.local/bin");
  Put("workspace");
  const std::string image = Put("workspace2");
  EXPECT_EQ(Chosen(root_ + "/workspace/.local/bin:" + root_ + "/workspace:bin:" + root_ + "/workspace2"),
            image);
}

TEST_F(Python, IsOneThatTheUserMayRun) {
  if (geteuid() != 0) GTEST_SKIP() << "other users' rights need root";
  const std::string hidden = Put("root-only");
  chmod((root_ + "/root-only").c_str(), 0700);
  Put("unreadable", 0700);
  const std::string image = Put("image");
  const std::string path = root_ + "/root-only:" + root_ + "/unreadable:" + root_ + "/image";
  EXPECT_EQ(Chosen(path, {.separate = true, .uid = 65534, .gid = 65534}), image);
  EXPECT_EQ(Chosen(path), hidden) << "the rights of before are back";
}

TEST_F(Python, ExecuteRunsTheOneOfThePathThatTheBackendGives) {
  const std::string python = Put("bin");
  testing::AgentUnderTest agent(
      {.separate = false, .more = {"--python", "auto", "--env", "PATH=" + root_ + "/bin:/usr/bin:/bin"}});
  const auto ending = agent.host().Run("execute", R"({"code":"the code"})");
  EXPECT_EQ(ending.code(), 0) << ending.message();
  EXPECT_EQ(ending.out, python + "\nthe code");
  EXPECT_EQ(agent.host().Run("shell", R"({"command":"command -v python3"})").out, python + "\n");
}

TEST_F(Python, AnImageWithoutOneStillRunsShell) {
  testing::AgentUnderTest agent(
      {.separate = false, .more = {"--python", "auto", "--env", "PATH=" + root_ + "/empty"}});
  for (const char* op : {"execute", "pip_list"}) {
    const auto ending = agent.host().Run(op, R"({"code":"1"})");
    EXPECT_EQ(ending.code(), CSB_E_UNAVAILABLE);
    EXPECT_THAT(ending.message(), HasSubstr("python3 was not found in this image"));
    EXPECT_THAT(std::string(json::GetString(ending.done, "hint").value_or("")),
                HasSubstr("image with Python"));
  }
  EXPECT_EQ(agent.host().Run("shell", R"({"command":"echo here"})").out, "here\n");
}

}  // namespace
}  // namespace csb::agent

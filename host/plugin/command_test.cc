// SPDX-License-Identifier: Apache-2.0
//
// A plugin's own commands, as the host finds and runs them, whatever the plugin does.
#include "host/plugin/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>
#include <thread>

#include "clara_sandbox/operation.h"
#include "host/plugin/fake_services.h"

namespace csb::host {
namespace {

using ::testing::HasSubstr;

std::string fault;  // set before a command is run
const csb_command_output* last_output = nullptr;
void* last_ctx = nullptr;
const csb_host* last_host = nullptr;

csb_status RunIt(const csb_host* host, const char* name, const csb_str* arguments, uint32_t count,
                 const csb_command_output* output, void* ctx, csb_error* error) {
  last_output = output;
  last_ctx = ctx;
  last_host = host;
  if (fault == "throws") throw std::runtime_error("on purpose");
  if (fault == "fails") {
    std::strcpy(error->message, "the server says no");
    std::strcpy(error->hint, "ask it again");
    return CSB_E_FORBIDDEN;
  }
  if (fault == "fails-silently") return CSB_E_IO;
  if (fault == "bad-stream") output->print(ctx, 77, Str("hi"));
  if (fault == "null-text") output->print(ctx, CSB_STREAM_STDOUT, {nullptr, 3});
  output->print(nullptr, CSB_STREAM_STDOUT, Str("wild"));
  output->print(ctx, CSB_STREAM_STDOUT, Str(name));
  const csb_str word = host->config(host, "front.word");
  output->print(ctx, CSB_STREAM_STDERR, word);
  for (uint32_t i = 0; i < count; ++i) output->print(ctx, CSB_STREAM_STDOUT, arguments[i]);
  return CSB_OK;
}

csb_command commands[2];
csb_command_v1 table;
csb_plugin descriptor;

class PluginCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fault.clear();
    commands[0] = {sizeof(csb_command), 0, "one", "WORD", "Says one", ""};
    commands[1] = {sizeof(csb_command), 0, "two", "", "Says two", "Twice."};
    table = {sizeof(csb_command_v1), 2, commands, &RunIt};
    descriptor = {sizeof(csb_plugin),
                  CSB_PLUGIN_MAGIC,
                  CSB_ABI_MAJOR,
                  CSB_ABI_MINOR,
                  CSB_KIND_FRONTEND,
                  0,
                  "front",
                  "1.0.0",
                  "A frontend",
                  nullptr,
                  [](const char* id) -> const void* {
                    if (fault == "throws-in-get-interface") throw std::runtime_error("on purpose");
                    if (fault == "none") return nullptr;
                    return std::string_view(id) == CSB_COMMAND_V1 ? &table : nullptr;
                  }};
  }
  std::string Refusal() {
    auto found = FindCommands(plugin_);
    return found ? "accepted" : found.error().message;
  }
  Status Run(const std::vector<std::string>& arguments = {}) {
    return RunCommand(plugin_, table, "one", arguments, services_,
                      [this](uint32_t stream, std::string_view text) {
                        (stream == CSB_STREAM_STDOUT ? out_ : err_) += text;
                      });
  }

  const LoadedPlugin plugin_{"/plugins/front.so", &descriptor};
  FakeServices services_{{{"front.word", "option"}}};
  std::string out_, err_;
};

TEST_F(PluginCommandTest, GetsItsArgumentsAndItsOptions) {
  auto found = FindCommands(plugin_);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, &table);
  EXPECT_STREQ(CommandAt(**found, 1)->name, "two");
  ASSERT_TRUE(Run({"a b", "", "--c"}));
  EXPECT_EQ(out_, "onea b--c");
  EXPECT_EQ(err_, "option");
}

TEST_F(PluginCommandTest, RefusesBrokenTables) {
  fault = "none";
  EXPECT_EQ(Refusal(), "plugin front has no commands");
  fault = "throws-in-get-interface";
  EXPECT_THAT(Refusal(), HasSubstr("get_interface threw an exception: on purpose"));
  fault.clear();
  table.struct_size = 16;
  EXPECT_EQ(Refusal(), "plugin front: csb_command_v1.struct_size is 16, this host needs at least 24");
  SetUp();
  table.command_count = 0;
  EXPECT_THAT(Refusal(), HasSubstr("command_count is 0, 1 to 100 are possible"));
  table.command_count = 1u << 30;
  EXPECT_THAT(Refusal(), HasSubstr("command_count is 1073741824"));
  SetUp();
  table.commands = nullptr;
  EXPECT_EQ(Refusal(), "plugin front: csb_command_v1.commands is null");
  SetUp();
  table.run = nullptr;
  EXPECT_EQ(Refusal(), "plugin front: csb_command_v1.run is null");
  SetUp();
  commands[0].struct_size = 8;
  EXPECT_THAT(Refusal(), HasSubstr("csb_command.struct_size is 8"));
  SetUp();
  commands[1].struct_size = 48;
  EXPECT_THAT(Refusal(), HasSubstr("command 1 has another struct_size than the first"));
  SetUp();
  for (const char* name : {static_cast<const char*>(nullptr), "", "Two", "--two", "a b"}) {
    commands[1].name = name;
    EXPECT_THAT(Refusal(), HasSubstr("command 1 has no name of the form"));
  }
  SetUp();
  commands[1].name = "one";
  EXPECT_THAT(Refusal(), HasSubstr("command 1 has the name 'one' of another"));
  SetUp();
  commands[1].summary = "";
  EXPECT_THAT(Refusal(), HasSubstr("command 1 (two) has no arguments, details or summary"));
}

// A plugin that was made with later headers, whose commands are larger.
TEST_F(PluginCommandTest, StepsOverLaterFields) {
  struct Later {
    csb_command now;
    const char* more;
  } later[2] = {{commands[0], "x"}, {commands[1], "y"}};
  for (Later& l : later) l.now.struct_size = sizeof(Later);
  table.commands = &later[0].now;
  auto found = FindCommands(plugin_);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_STREQ(CommandAt(**found, 1)->name, "two");
}

TEST_F(PluginCommandTest, ErrorsAndExceptionsComeOut) {
  fault = "fails";
  auto status = Run();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, CSB_E_FORBIDDEN);
  EXPECT_EQ(status.error().message, "the server says no");
  EXPECT_EQ(status.error().hint, "ask it again");
  fault = "fails-silently";
  status = Run();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "plugin front: run failed with code 16 and no message (rule 19)");
  fault = "throws";
  status = Run();
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("plugin front: run threw an exception: on purpose (rule 9)"));
}

TEST_F(PluginCommandTest, WhatIsNoTextIsDroppedAndLogged) {
  for (const char* f : {"bad-stream", "null-text"}) {
    fault = f;
    FakeServices services;
    ASSERT_TRUE(RunCommand(plugin_, table, "two", {}, services,
                           [this](uint32_t, std::string_view text) { out_ += text; }));
    EXPECT_TRUE(services.Logged("front: printed on a stream that there is none of, or no text (rule 33)"))
        << f;
  }
  EXPECT_EQ(out_, "twotwo");
}

// A thread that the command left behind.
TEST_F(PluginCommandTest, WhatComesAfterTheEndIsDropped) {
  ASSERT_TRUE(Run());
  std::thread([] {
    last_output->print(last_ctx, CSB_STREAM_STDOUT, Str("late"));
    last_host->log(last_host, CSB_LOG_INFO, Str("late"));
    EXPECT_EQ(last_host->config(last_host, "front.word").data, nullptr);
  }).join();
  EXPECT_EQ(out_, "one");
  EXPECT_THAT(services_.lines(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace csb::host

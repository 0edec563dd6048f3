// SPDX-License-Identifier: Apache-2.0
//
// The plugins that consumer_test.sh built outside this tree, in this host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clara_sandbox/testing/recorder.h"
#include "host/plugin/fake_services.h"
#include "host/plugin/instance.h"

namespace csb::host {
namespace {

using csb::testing::Recorder;

TEST(ConsumerTest, BothWaysAndBothLanguagesAnswer) {
  for (const std::string way : {"find_package", "add_subdirectory"}) {
    for (const std::string name : {"mini-c", "mini-cpp"}) {
      SCOPED_TRACE(way + " " + name);
      const auto plugin = LoadPlugin(std::string(CSB_CONSUMER_DIR) + "/" + way + "/build/" + name + ".so");
      ASSERT_TRUE(plugin) << plugin.error().message;
      EXPECT_EQ(plugin->descriptor->name, name);
      FakeServices services;
      const auto backend = BackendInstance::Create(*plugin, services);
      ASSERT_TRUE(backend) << backend.error().message;
      Recorder op((*backend)->table(), (*backend)->self(), {.op = CSB_OP_SHELL, .user = "u"});
      ASSERT_TRUE(op.Wait());
      EXPECT_EQ(op.code(), CSB_OK) << op.message();
      EXPECT_EQ(op.output(CSB_STREAM_STDOUT), "hello");
      EXPECT_EQ(op.result(), R"({"exit_code":0,"cause":"exit"})");
      EXPECT_THAT(op.violations(), ::testing::IsEmpty());
    }
  }
}

}  // namespace
}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
//
// A plugin built with the headers of the first release, in today's host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "clara_sandbox/testing/recorder.h"
#include "host/plugin/fake_services.h"
#include "host/plugin/guarded_operation.h"

namespace csb::host {
namespace {

using csb::testing::Recorder;
using ::testing::IsEmpty;

class ReleaseOneTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const ScanResult scan = ScanPlugins({CSB_RELEASE_ONE_DIR});
    ASSERT_THAT(scan.refused, IsEmpty());
    ASSERT_EQ(scan.plugins.size(), 1u);
    auto made = BackendInstance::Create(scan.plugins[0], services_);
    ASSERT_TRUE(made) << made.error().message;
    backend_ = *std::move(made);
  }
  FakeServices services_{{{"release-one.greeting", "good day"}}};
  Timers timers_;
  std::unique_ptr<BackendInstance> backend_;
};

TEST_F(ReleaseOneTest, IsMadeWithItsOptions) {
  EXPECT_EQ(backend_->name(), "release-one");
  EXPECT_TRUE(services_.Logged("release-one: good day"));
  EXPECT_EQ(services_.counter("release_one_created"), 1);
}

TEST_F(ReleaseOneTest, KeepsTheRulesUnderTheRecorder) {
  {
    Recorder op(
        backend_->table(), backend_->self(),
        {.op = CSB_OP_EXECUTE, .flags = CSB_REQUEST_INPUT, .user = "u", .payload = "{}", .output_credit = 3});
    ASSERT_TRUE(op.Send(std::string(100000, 'x')));
    ASSERT_TRUE(op.Wait());
    EXPECT_EQ(op.output(CSB_STREAM_STDOUT), "{}" + std::string(100000, 'x'));
    EXPECT_EQ(op.result(), R"({"release":1})");
    EXPECT_THAT(op.violations(), IsEmpty());
  }
  Recorder unzip(backend_->table(), backend_->self(), {.op = CSB_OP_UNZIP, .user = "u"});
  EXPECT_EQ(unzip.code(), CSB_E_UNSUPPORTED);
  EXPECT_EQ(unzip.message(), "no archives here");
}

TEST_F(ReleaseOneTest, IsCancelledThroughTheGuard) {
  struct Ended {
    std::promise<csb_status> code;
  } ended;
  static constexpr csb_events kEvents{
      sizeof(csb_events),
      0,
      [](void*, uint32_t, csb_str) {},
      [](void*, uint32_t, csb_str) {},
      [](void*, uint64_t) {},
      [](void* ctx, const csb_outcome* o) { static_cast<Ended*>(ctx)->code.set_value(o->code); }};
  const csb_request request{
      sizeof(csb_request), CSB_OP_SHELL, 0, 0, Str("u"), {}, Str("{\"waits\":\"for credit\"}"), 0, 0};
  GuardedOperation op;
  ASSERT_TRUE(GuardedOperation::Submit(*backend_, timers_, request, kEvents, &ended, &op));
  op.Cancel(CSB_E_DEADLINE);
  EXPECT_EQ(ended.code.get_future().get(), CSB_E_DEADLINE);
  EXPECT_EQ(services_.counter("csb_plugin_violations_total"), 0);
}

}  // namespace
}  // namespace csb::host

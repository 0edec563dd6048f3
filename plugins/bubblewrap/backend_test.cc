// SPDX-License-Identifier: Apache-2.0
//
// The whole backend through its C table, with the real bwrap, launcher and agent.
#include "plugins/bubblewrap/backend.h"

#include <gmock/gmock.h>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/testing/fake_host.h"
#include "clara_sandbox/testing/fake_service.h"
#include "clara_sandbox/testing/recorder.h"
#include "plugins/bubblewrap/testing.h"

namespace csb::bwrap {
namespace {

using csb::testing::BackendHarness;
using csb::testing::FakeHost;
using csb::testing::Recorder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class BackendTest : public ::testing::Test {
 protected:
  using Harness = BackendHarness<BubblewrapBackend>;

  FakeHost::Options Config(FakeHost::Options more = {}) const {
    FakeHost::Options config = {{"sandbox.data_dir", folder_ / "data"},
                                {"sandbox.state_dir", folder_ / "state"},
                                {"sandbox.runtime_dir", folder_ / "run"},
                                {"bubblewrap.agent", LibFolder() + "/clara-sandbox-agent"},
                                {"bubblewrap.launcher", LibFolder() + "/clara-sandbox-launch"},
                                {"bubblewrap.memory", "134217728"},
                                {"bubblewrap.disk", "33554432"},
                                {"bubblewrap.cpu", "1"},
                                {"bubblewrap.pids", "64"},
                                {"bubblewrap.timeout", "60"}};
    for (auto& [key, value] : more) config[key] = value;
    return config;
  }

  void Start(FakeHost::Options more = {}) {
    host_ = std::make_unique<FakeHost>(Config(std::move(more)), 4);
    backend_ = std::make_unique<Harness>(*host_);
    ASSERT_EQ(backend_->code(), CSB_OK) << backend_->error().message;
  }
  void Stop() {
    backend_.reset();
    host_.reset();
  }
  void TearDown() override {
    if (backend_ == nullptr) return;
    for (const std::string& user : users_) Call(CSB_OP_DESTROY, R"({"purge":true})", user);
    Stop();
  }

  struct Answer {
    csb_status code;
    std::string result, message, out, err, hint;
  };
  Answer Call(uint32_t op, const std::string& payload = "{}", const std::string& user = "alice",
              uint64_t timeout_ms = 0) {
    users_.insert(user);
    Request request{.op = op, .user = user, .payload = payload};
    if (timeout_ms > 0) request.deadline_ns = host_->ref().NowNs() + timeout_ms * 1'000'000;
    Recorder recorder(Harness::table(), backend_->self(), request);
    EXPECT_TRUE(recorder.Wait(std::chrono::seconds(30)));
    EXPECT_THAT(recorder.violations(), IsEmpty());
    return {recorder.code(),
            recorder.result(),
            recorder.message(),
            recorder.output(CSB_STREAM_STDOUT),
            recorder.output(CSB_STREAM_STDERR),
            recorder.hint()};
  }
  Answer Shell(const std::string& command, const std::string& user = "alice") {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "command", command);
    w.EndObject();
    return Call(CSB_OP_SHELL, buffer.GetString(), user, 20'000);
  }
  void Create(const std::string& user = "alice", const std::string& payload = "{}") {
    const Answer made = Call(CSB_OP_CREATE, payload, user);
    ASSERT_EQ(made.code, CSB_OK) << made.message << "\n" << made.hint;
  }

  TemporaryFolder folder_;
  std::unique_ptr<FakeHost> host_;
  std::unique_ptr<Harness> backend_;
  std::set<std::string> users_;
};

TEST_F(BackendTest, ACommandRunsInAFreshSandbox) {
  Start();
  EXPECT_EQ(Shell("id").code, CSB_E_NO_SANDBOX);
  Create();
  const Answer answer = Shell("id -u; pwd; cat /proc/1/comm");
  EXPECT_EQ(answer.code, CSB_OK) << answer.message;
  EXPECT_THAT(answer.out, HasSubstr("1000\n/workspace\n"));
  EXPECT_EQ(answer.err, "");
}

TEST_F(BackendTest, ProbeSaysItCan) {
  Start();
  const Answer probe = Call(CSB_OP_PROBE, "{}", "");
  ASSERT_EQ(probe.code, CSB_OK);
  EXPECT_THAT(probe.result, HasSubstr(R"("available":true)")) << probe.result;
  EXPECT_THAT(probe.result, HasSubstr("bubblewrap 0"));
}

TEST_F(BackendTest, EveryLimitIsReadBackFromTheKernel) {
  CSB_NEED_ROOT();
  Start();
  Create();
  const Answer status = Call(CSB_OP_STATUS);
  ASSERT_EQ(status.code, CSB_OK) << status.message;
  const auto info = json::ParseObject(status.result);
  ASSERT_TRUE(info);
  EXPECT_EQ(json::GetString(*info, "status"), "running");
  const json::Value* enforced = json::Find(*info, "enforced");
  ASSERT_NE(enforced, nullptr);
  for (const char* name : {"memory", "cpu", "pids", "disk", "network", "seccomp", "userns", "no_new_privs"}) {
    const json::Value* one = json::Find(*enforced, name);
    ASSERT_NE(one, nullptr) << name;
    EXPECT_EQ(json::GetBool(*one, "enforced"), true) << name << ": " << json::ToString(*one);
  }
  EXPECT_THAT(status.result, HasSubstr("128 MiB"));
}

}  // namespace
}  // namespace csb::bwrap

// SPDX-License-Identifier: Apache-2.0
//
// backend_fixture.h: the whole backend through its C table, with the real bwrap, launcher and agent,
// in a temporary folder; every user that a test names is purged at its end.
#pragma once

#include <gmock/gmock.h>

#include <memory>
#include <set>
#include <string>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/testing/fake_host.h"
#include "clara_sandbox/testing/fake_service.h"
#include "clara_sandbox/testing/recorder.h"
#include "plugins/bubblewrap/backend.h"
#include "plugins/bubblewrap/paths.h"
#include "plugins/bubblewrap/record.h"
#include "plugins/bubblewrap/testing.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {

using csb::testing::BackendHarness;
using csb::testing::FakeHost;
using csb::testing::Recorder;

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
    EXPECT_THAT(recorder.violations(), ::testing::IsEmpty());
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

  Paths PathsOf(const std::string& user) {
    return Paths(folder_ / "data", folder_ / "run", EngineName(user));
  }
  LiveRecord Live(const std::string& user = "alice") {
    auto live = ReadLiveRecord(PathsOf(user).live());
    EXPECT_TRUE(live);
    return live ? *live : LiveRecord();
  }
  // Member of a result of a command.
  static std::string Text(const std::string& result, const char* member) {
    const auto doc = json::ParseObject(result);
    return doc ? std::string(json::GetString(*doc, member).value_or("")) : "";
  }
  static int64_t Number(const std::string& result, const char* member) {
    const auto doc = json::ParseObject(result);
    return doc ? json::GetInt(*doc, member).value_or(-1) : -1;
  }
  void ExpectNothingLeft(const LiveRecord& live) {
    for (const std::string& file : live.cgroup.ProcsFiles()) EXPECT_FALSE(Exists(file)) << file;
    EXPECT_FALSE(OpenSame(live.init));
    EXPECT_FALSE(OpenSame(live.monitor));
    EXPECT_FALSE(Exists(PathsOf(live.user).runtime));
  }

  TemporaryFolder folder_;
  std::unique_ptr<FakeHost> host_;
  std::unique_ptr<Harness> backend_;
  std::set<std::string> users_;
};

}  // namespace csb::bwrap

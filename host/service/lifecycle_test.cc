// SPDX-License-Identifier: Apache-2.0
//
// Create, stop, restart, destroy, idle stop, capacity, what must be enforced, shutdown.
#include <gmock/gmock.h>

#include <future>
#include <thread>

#include "host/service/core.h"
#include "host/service/testing/fixture.h"

namespace csb::host {
namespace {

using testing::HasSubstr;
using testing::Not;

class LifecycleTest : public ServiceTest {};

TEST_F(LifecycleTest, StopStatusDestroyAndRestartMakeNothing) {
  Start();
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND);
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().result, R"({"status":"not_found"})");
  EXPECT_THAT(Ask(*service, CSB_OP_DESTROY, "alice")->Wait().result, HasSubstr(R"("status":"not_found")"));
  EXPECT_EQ(Ask(*service, CSB_OP_RESTART, "alice")->Wait().code, CSB_E_NOT_FOUND);
  for (uint32_t op : {CSB_OP_CREATE, CSB_OP_STOP, CSB_OP_RESTART, CSB_OP_STATUS}) {
    EXPECT_EQ(docker->count(op), 0);
    EXPECT_EQ(bubblewrap->count(op), 0);
  }
  // Another host may have made files on the engine: whose they are is asked where a create would go.
  EXPECT_EQ(docker->count(CSB_OP_DESTROY), 1);
  EXPECT_EQ(bubblewrap->count(CSB_OP_DESTROY), 0);
}

TEST_F(LifecycleTest, ALife) {
  Start();
  const auto created =
      Json(Ask(*service, CSB_OP_CREATE, "alice", R"({"memory_limit":"64m"})")->Wait().result);
  EXPECT_EQ(json::GetString(created, "backend"), "docker");
  EXPECT_THAT(docker->last_payload(CSB_OP_CREATE), HasSubstr("67108864"));
  EXPECT_EQ(active(), 1);
  EXPECT_EQ(Ask(*service, CSB_OP_RESTART, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().result, R"({"status":"stopped"})");
  EXPECT_EQ(active(), 0);
  EXPECT_EQ(json::GetString(Json(Ask(*service, CSB_OP_STATUS, "alice")->Wait().result), "status"), "stopped");
  EXPECT_EQ(Ask(*service, CSB_OP_RESTART, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(active(), 1);
  EXPECT_THAT(Ask(*service, CSB_OP_DESTROY, "alice")->Wait().result, HasSubstr(R"("files_preserved":true)"));
  EXPECT_EQ(active(), 0);
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND) << "files are no sandbox";
  EXPECT_EQ(Ask(*service, CSB_OP_DESTROY, "alice")->Wait().result,
            R"({"status":"not_found","files_preserved":true})");
  Restart();
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND) << "the record tells";
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(json::GetString(Json(Ask(*service, CSB_OP_STATUS, "alice")->Wait().result), "status"), "stopped");
  EXPECT_THAT(Ask(*service, CSB_OP_DESTROY, "alice")->Wait().result, HasSubstr(R"("deleted")"));
  EXPECT_THAT(Ask(*service, CSB_OP_DESTROY, "alice", R"({"purge":true})")->Wait().result,
              HasSubstr(R"("files_preserved":false)"));
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND);
}

TEST_F(LifecycleTest, WhatComesAfterAStopFindsANewSandbox) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Hold(CSB_OP_STOP);
  auto stop = Ask(*service, CSB_OP_STOP, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_STOP, 1));
  auto shell = Shell(*service, "alice");
  auto create = Ask(*service, CSB_OP_CREATE, "alice");
  auto other = Shell(*service, "bob");
  EXPECT_EQ(other->Wait().code, CSB_OK) << "nobody else waits";
  EXPECT_FALSE(shell->Done());
  docker->Release(CSB_OP_STOP);
  EXPECT_EQ(stop->Wait().code, CSB_OK);
  EXPECT_EQ(shell->Wait().code, CSB_OK);
  EXPECT_EQ(create->Wait().code, CSB_OK);
}

TEST_F(LifecycleTest, AFailedStopLeavesTheSandboxLive) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Fail(CSB_OP_STOP, Error{CSB_E_IO, "busy", "", true});
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().code, CSB_E_IO);
  EXPECT_EQ(active(), 1);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 1);
}

TEST_F(LifecycleTest, StatusTellsOfASandboxThatWentAwayUnseen) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Lose("alice");
  EXPECT_EQ(json::GetString(Json(Ask(*service, CSB_OP_STATUS, "alice")->Wait().result), "status"), "stopped");
  EXPECT_EQ(active(), 0);
}

// Whoever hears that a sandbox has ended, or was not made, finds its place free.
TEST_F(LifecycleTest, ThePlaceIsFreeOnceTheEndIsTold) {
  options.max_sandboxes = 1;
  Start();
  for (int i = 0; i < 300; ++i) {
    const std::string user = i % 2 == 0 ? "a" : "b";
    ASSERT_EQ(Ask(*service, CSB_OP_CREATE, user)->Wait().code, CSB_OK) << i;
    ASSERT_EQ(Ask(*service, i % 3 == 0 ? CSB_OP_DESTROY : CSB_OP_STOP, user)->Wait().code, CSB_OK);
    docker->Fail(CSB_OP_CREATE, Error{CSB_E_IO, "no room", "", true});
    ASSERT_EQ(Ask(*service, CSB_OP_CREATE, user)->Wait().code, CSB_E_IO) << i;
    docker->Fail(CSB_OP_CREATE, std::nullopt);
  }
}

TEST_F(LifecycleTest, CapacityIsGivenBack) {
  options.max_sandboxes = 2;
  Start();
  EXPECT_EQ(Shell(*service, "a")->Wait().code, CSB_OK);
  EXPECT_EQ(Shell(*service, "b")->Wait().code, CSB_OK);
  auto refused = Shell(*service, "c");
  EXPECT_EQ(refused->Wait().code, CSB_E_NO_CAPACITY);
  EXPECT_TRUE(refused->retryable);
  EXPECT_THAT(refused->hint, HasSubstr("SANDBOX_MAX_CONTAINERS"));
  EXPECT_EQ(Shell(*service, "a")->Wait().code, CSB_OK);
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "a")->Wait().code, CSB_OK) << "has its place already";
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "a")->Wait().code, CSB_OK);
  ASSERT_TRUE(Eventually([&] { return Shell(*service, "c")->Wait().code == CSB_OK; }));
  EXPECT_EQ(Ask(*service, CSB_OP_RESTART, "a")->Wait().code, CSB_E_NO_CAPACITY);
  docker->Lose("c");
  docker->Fail(CSB_OP_CREATE, Error{CSB_E_IO, "x", "", false});
  EXPECT_EQ(Shell(*service, "c")->Wait().code, CSB_E_IO);
  docker->Fail(CSB_OP_CREATE, std::nullopt);
  ASSERT_TRUE(Eventually([&] { return Ask(*service, CSB_OP_RESTART, "a")->Wait().code == CSB_OK; }));
}

// ---- idle ----

TEST_F(LifecycleTest, AnIdleSandboxIsStoppedAndItsFilesStay) {
  Make("0.1");
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  ASSERT_TRUE(docker->WaitCount(CSB_OP_STOP, 1));
  ASSERT_TRUE(Eventually([&] { return active() == 0; }));
  EXPECT_TRUE(docker->Has("alice"));
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK) << "comes back by itself";
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 2);
  ASSERT_TRUE(docker->WaitCount(CSB_OP_STOP, 2)) << "and ends again";
}

TEST_F(LifecycleTest, WhatRunsKeepsTheSandbox) {
  Make("0.1");
  Start();
  docker->Hold(CSB_OP_SHELL);
  auto reply = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_SHELL, 1));
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(docker->count(CSB_OP_STOP), 0);
  docker->Release(CSB_OP_SHELL);
  EXPECT_EQ(reply->Wait().code, CSB_OK);
  EXPECT_TRUE(docker->WaitCount(CSB_OP_STOP, 1));
}

TEST_F(LifecycleTest, ARequestDuringTheIdleStopWaitsAndGetsANewSandbox) {
  Make("0.05");
  docker->Hold(CSB_OP_STOP);
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_STOP, 1));
  auto reply = Shell(*service, "alice");
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(reply->Done()) << "not into a sandbox that is being ended";
  docker->Release(CSB_OP_STOP);
  EXPECT_EQ(reply->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 2);
}

TEST_F(LifecycleTest, RequestsRacingIdleStopsNeverFail) {
  Make("0.005");
  Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        auto reply = Shell(*service, "u" + std::to_string(t % 2));
        EXPECT_EQ(reply->Wait().code, CSB_OK) << reply->message;
        if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(4 + i % 5));
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_GT(docker->count(CSB_OP_STOP), 0);
}

// ---- enforced ----

constexpr char kNoDisk[] =
    R"({"memory":{"enforced":true},"cpu":{"enforced":true},"pids":{"enforced":true},)"
    R"("disk":{"enforced":false,"by":"no project quota"},"network":{"enforced":true},"seccomp":{"enforced":true}})";

TEST_F(LifecycleTest, APublicServiceRefusesWhatIsNotEnforced) {
  Make();
  options.mode = "docker";
  options.public_listener = true;
  Start();
  ASSERT_TRUE(services->Logged("docker is available"));
  docker->SetEnforced(kNoDisk);  // the probe could not tell, the sandbox does
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("does not enforce disk (no project quota)"));
  EXPECT_THAT(reply->hint, HasSubstr("sandbox.allow_unenforced = disk"));
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 0);
  EXPECT_FALSE(docker->Live("alice")) << "nothing of it stays behind";
  EXPECT_EQ(docker->count(CSB_OP_DESTROY), 1);
  EXPECT_EQ(active(), 0);
  docker->Put("bob", false);
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "bob")->Wait().code, CSB_E_UNAVAILABLE);
}

TEST_F(LifecycleTest, AllowedByNameOrOnLoopbackItIsAWarning) {
  Make();
  docker->SetEnforced(kNoDisk);
  options.public_listener = true;
  options.allow_unenforced = {"disk"};
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
  EXPECT_TRUE(services->Logged("backend docker does not enforce disk: no project quota"));
  const auto lines = services->lines();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                          [](const std::string& l) { return l.find("does not enforce disk") != l.npos; }),
            1)
      << "once, not for each sandbox";
}

TEST_F(LifecycleTest, WhatIsNotReportedIsNotEnforced) {
  Make();
  docker->SetEnforced("{}");
  options.mode = "docker";
  options.require = {"seccomp"};
  Start();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("seccomp (not reported)"));
}

// ---- shutdown ----

TEST_F(LifecycleTest, DrainWaitsForWhatRuns) {
  Start();
  docker->Hold(CSB_OP_SHELL);
  auto reply = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_SHELL, 1));
  std::thread drain([&] { service->Drain(60s); });
  ASSERT_TRUE(Eventually([&] { return Ask(*service, CSB_OP_HEALTH, "")->Wait().code == CSB_E_UNAVAILABLE; }));
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(reply->Done());
  docker->Release(CSB_OP_SHELL);
  EXPECT_EQ(reply->Wait().code, CSB_OK);
  drain.join();
  EXPECT_TRUE(docker->Live("alice")) << "sandboxes live on";
}

TEST_F(LifecycleTest, DrainEndsTheRestAfterTheGrace) {
  Make();
  Start();
  docker->Hold(CSB_OP_SHELL);
  auto running = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_SHELL, 1));
  docker->Hold(CSB_OP_CREATE);
  auto waiting = Shell(*service, "bob");
  auto creating = Ask(*service, CSB_OP_CREATE, "carol");
  auto metrics_op = Ask(*service, CSB_OP_METRICS, "", "", {.credit = 1});
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 2));
  service->Drain(50ms);
  for (auto* r : {&running, &waiting, &creating, &metrics_op}) {
    EXPECT_EQ((*r)->Wait().code, CSB_E_CANCELLED);
    EXPECT_TRUE((*r)->Done());
  }
  EXPECT_THAT(running->message, HasSubstr("shutting down"));
  EXPECT_THAT(waiting->message, HasSubstr("shutting down"));
}

TEST_F(LifecycleTest, DrainEndsWhatWasBeingSubmittedWhenItBegan) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Hold(CSB_OP_EXECUTE);
  const std::string code =
      R"({"code":")" + std::string(8 << 20, 'x') + R"("})";  // takes its time to be checked
  std::shared_ptr<Reply> late;
  std::thread submits([&] { late = Ask(*service, CSB_OP_EXECUTE, "alice", code); });
  std::this_thread::sleep_for(3ms);
  std::promise<void> drained;
  std::thread releases([&, done = drained.get_future()] {  // so that a drain without end fails
    done.wait_for(6s);
    docker->Release(CSB_OP_EXECUTE);
  });
  const auto began = std::chrono::steady_clock::now();
  service->Drain(0ms);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  drained.set_value();
  submits.join();
  releases.join();
}

TEST_F(LifecycleTest, DrainOutlastsABackendThatIgnoresCancel) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Hang();
  auto reply = Shell(*service, "alice");
  service->Drain(50ms);
  EXPECT_EQ(reply->Wait().code, CSB_E_INTERNAL);
  EXPECT_THAT(reply->message, HasSubstr("docker"));
}

// What was posted before, as the stop of a sandbox whose idle time was over, may come to its call only now.
TEST_F(LifecycleTest, NothingIsAskedOfABackendOnceItIsDrained) {
  Make();
  metrics = std::make_unique<Metrics>(std::vector<std::string>{"docker", "bubblewrap"}, "1.2.3");
  const std::vector<BackendInstance*> backends = {docker->instance(), bubblewrap->instance()};
  const auto core =
      std::make_shared<Service::Core>(options, backends, *services, services->workers(), timers, *metrics);
  core->Drain(0ms);
  std::promise<Outcome> told;
  core->StartCall(0, {.op = CSB_OP_STOP, .user = "alice"}, nullptr,
                  [&](Outcome outcome) { told.set_value(std::move(outcome)); });
  EXPECT_EQ(told.get_future().get().code, CSB_E_CANCELLED);
  EXPECT_EQ(docker->count(CSB_OP_STOP), 0);
}

}  // namespace
}  // namespace csb::host

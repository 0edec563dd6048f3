// SPDX-License-Identifier: Apache-2.0
//
// The way of an operation: made on first use, passed through, retried, cancelled, counted.
#include <gmock/gmock.h>

#include <thread>

#include "host/service/testing/fixture.h"

namespace csb::host {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST_F(ServiceTest, FirstUseMakesTheSandbox) {
  Start();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_OK) << reply->message;
  EXPECT_EQ(reply->output, "hi\n");
  EXPECT_THAT(reply->result, HasSubstr("exit_code"));
  EXPECT_TRUE(docker->Live("alice")) << "docker is the first of the order";
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 1);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 1);
}

TEST_F(ServiceTest, AHundredFirstRequestsMakeOneSandbox) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  Start();
  std::vector<std::shared_ptr<Reply>> replies(100);
  std::vector<std::thread> threads;
  for (int t = 0; t < 10; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) replies[static_cast<size_t>(t * 10 + i)] = Shell(*service, "alice");
    });
  for (auto& t : threads) t.join();
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 0) << "nothing goes before the sandbox is ready";
  docker->Release(CSB_OP_CREATE);
  for (auto& r : replies) EXPECT_EQ(r->Wait().code, CSB_OK) << r->message;
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 1);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 100);
}

TEST_F(ServiceTest, BadRequestsNeverReachABackend) {
  Start();
  EXPECT_THAT(Ask(*service, CSB_OP_SHELL, "alice", R"({"command":"true","timeout":0})")->Wait().message,
              StartsWith("timeout: must be a number between"));
  EXPECT_EQ(Ask(*service, CSB_OP_SHELL, "alice", "{")->Wait().code, CSB_E_BAD_REQUEST);
  EXPECT_THAT(Shell(*service, "")->Wait().message, StartsWith("user_id: "));
  EXPECT_THAT(Shell(*service, "a\nb")->Wait().message, StartsWith("user_id: "));
  EXPECT_EQ(Shell(*service, std::string(257, 'x'))->Wait().code, CSB_E_INVALID);
  EXPECT_EQ(Ask(*service, CSB_OP_PROBE, "alice")->Wait().code, CSB_E_UNSUPPORTED);
  EXPECT_EQ(Ask(*service, 4711, "alice")->Wait().code, CSB_E_BAD_REQUEST);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 0);
}

TEST_F(ServiceTest, TheDeadlineCountsFromWhenTheSandboxIsReady) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  Start();
  auto reply = Ask(*service, CSB_OP_SHELL, "alice", R"({"command":"true","timeout":5})");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  std::this_thread::sleep_for(50ms);
  const uint64_t ready = NowNs();
  docker->Release(CSB_OP_CREATE);
  EXPECT_EQ(reply->Wait().code, CSB_OK);
  EXPECT_GE(docker->last_deadline(CSB_OP_SHELL), ready + 5'000'000'000);
  EXPECT_LE(docker->last_deadline(CSB_OP_SHELL), NowNs() + 5'000'000'000);
  EXPECT_EQ(Shell(*service, "alice", {.deadline = 2000ms})->Wait().code, CSB_OK);
  EXPECT_LE(docker->last_deadline(CSB_OP_SHELL), NowNs() + 2'000'000'000)
      << "the caller's is the upper bound";
}

TEST_F(ServiceTest, ALostSandboxIsMadeAnewOnce) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Lose("alice");
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 2);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 3);

  docker->Fail(CSB_OP_SHELL, Error{CSB_E_NO_SANDBOX, "none", "", true});
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_E_NO_SANDBOX) << "but only once";
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 5);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 3);
}

TEST_F(ServiceTest, ARefusalWithNoSandboxIsRetriedToo) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->FailSubmit(CSB_OP_SHELL, Error{CSB_E_NO_SANDBOX, "none", "", true});
  docker->Hold(CSB_OP_CREATE);
  auto reply = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  docker->FailSubmit(CSB_OP_SHELL, std::nullopt);
  docker->Release(CSB_OP_CREATE);
  EXPECT_EQ(reply->Wait().code, CSB_OK) << reply->message;
}

TEST_F(ServiceTest, AfterGoneTheSandboxIsMadeAnewForTheNext) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Fail(CSB_OP_SHELL, Error{CSB_E_GONE, "it ended", "", false});
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_E_GONE) << "it may have run: never again by itself";
  EXPECT_EQ(active(), 0);
  docker->Fail(CSB_OP_SHELL, std::nullopt);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 2);
}

TEST_F(ServiceTest, AnErrorOfSubmitIsTheAnswer) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->FailSubmit(CSB_OP_SHELL, Error{CSB_E_TOO_LARGE, "too much", "less", false});
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_TOO_LARGE);
  EXPECT_THAT(reply->message, HasSubstr("too much"));
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_TOO_LARGE) << "also when it waited for its sandbox";
}

TEST_F(ServiceTest, InputGoesThroughOnceTheBackendGrantsIt) {
  Start();
  auto reply =
      Ask(*service, CSB_OP_FILE_WRITE, "alice", R"({"path":"a"})", {.has_input = true, .input = "data"});
  EXPECT_EQ(reply->Wait().code, CSB_OK) << reply->message;
}

TEST_F(ServiceTest, OutputWaitsForCreditAlsoWhenItCameBeforeTheSandbox) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  Start();
  auto reply = Shell(*service, "alice", {.credit = 1});
  auto other = Shell(*service, "alice", {.credit = 0});
  reply->Credit(2);
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  docker->Release(CSB_OP_CREATE);
  EXPECT_EQ(reply->Wait().output, "hi\n");
  ASSERT_TRUE(docker->WaitCount(CSB_OP_SHELL, 2));
  EXPECT_FALSE(other->Done());
  other->Credit(100);
  EXPECT_EQ(other->Wait().output, "hi\n");
}

// ---- failing creates ----

TEST_F(ServiceTest, AFailedCreateAnswersAllAndLeavesNothing) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  docker->Fail(CSB_OP_CREATE, Error{CSB_E_IO, "no loop device", "make one", false});
  Start();
  std::vector<std::shared_ptr<Reply>> replies;
  for (int i = 0; i < 20; ++i) replies.push_back(Shell(*service, "alice"));
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  docker->Release(CSB_OP_CREATE);
  for (auto& r : replies) {
    EXPECT_EQ(r->Wait().code, CSB_E_IO);
    EXPECT_THAT(r->message, HasSubstr("no loop device"));
    EXPECT_EQ(r->hint, "make one");
  }
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 1) << "one failure, not one for each";
  EXPECT_EQ(active(), 0);
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND);
  docker->Fail(CSB_OP_CREATE, std::nullopt);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
}

TEST_F(ServiceTest, ACreateThatTheBackendRefuses) {
  Make();
  docker->FailSubmit(CSB_OP_CREATE, Error{CSB_E_IO, "no", "", false});
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_E_IO);
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "alice")->Wait().code, CSB_E_IO);
  EXPECT_EQ(active(), 0);
}

TEST_F(ServiceTest, ACreateThatHangsEndsAtItsDeadlineAndIsCleanedUp) {
  Make();
  options.create_deadline = 1000ms;
  docker->Hold(CSB_OP_CREATE);
  Start();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_DEADLINE) << reply->message;
  EXPECT_TRUE(docker->WaitCount(CSB_OP_DESTROY, 1));
  EXPECT_THAT(docker->last_payload(CSB_OP_DESTROY), testing::Not(HasSubstr("true"))) << "never a purge";
  docker->Release(CSB_OP_CREATE);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
}

TEST_F(ServiceTest, ManyFailingCreatesDoNotPileUpOnTheStack) {
  options.max_sandboxes = 0;
  Start();
  std::vector<std::shared_ptr<Reply>> replies;
  for (int i = 0; i < 3000; ++i) replies.push_back(Ask(*service, CSB_OP_CREATE, "alice"));
  for (auto& r : replies) EXPECT_EQ(r->Wait().code, CSB_E_NO_CAPACITY);
}

// ---- cancel ----

TEST_F(ServiceTest, CancelWhileItWaits) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  Start();
  auto first = Shell(*service, "alice");
  auto second = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  first->Cancel();
  first->Cancel();
  EXPECT_EQ(first->Wait().code, CSB_E_CANCELLED);
  EXPECT_FALSE(second->Done());
  docker->Release(CSB_OP_CREATE);
  EXPECT_EQ(second->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 1);
  second->Cancel();  // harmless
}

TEST_F(ServiceTest, CancelWhileItRuns) {
  Start();
  docker->Hold(CSB_OP_SHELL);
  auto reply = Shell(*service, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_SHELL, 1));
  reply->Cancel();
  EXPECT_EQ(reply->Wait().code, CSB_E_CANCELLED);
  EXPECT_THAT(reply->message, HasSubstr("at the backend"));
}

TEST_F(ServiceTest, CancelWhileACreateRuns) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  Start();
  auto reply = Ask(*service, CSB_OP_CREATE, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  reply->Cancel();
  EXPECT_EQ(reply->Wait().code, CSB_E_CANCELLED);
}

TEST_F(ServiceTest, CancelOfALifeCycleStepThatWaitsForAnother) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  Start();
  auto create = Ask(*service, CSB_OP_CREATE, "alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_CREATE, 1));
  auto stop = Ask(*service, CSB_OP_STOP, "alice");
  auto shell = Shell(*service, "alice");
  stop->Cancel();
  EXPECT_EQ(stop->Wait().code, CSB_E_CANCELLED);
  docker->Release(CSB_OP_CREATE);
  EXPECT_EQ(create->Wait().code, CSB_OK);
  EXPECT_EQ(shell->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_STOP), 0);
}

TEST_F(ServiceTest, TheCallersDeadlineEndsWhatWaits) {
  Make();
  docker->Hold(CSB_OP_CREATE);
  Start();
  auto reply = Shell(*service, "alice", {.deadline = 50ms});
  EXPECT_EQ(reply->Wait().code, CSB_E_DEADLINE);
  EXPECT_THAT(reply->message, HasSubstr("Execution timed out"));
  EXPECT_EQ(Shell(*service, "alice", {.deadline = -1ms})->Wait().code, CSB_E_DEADLINE);
}

TEST_F(ServiceTest, CancelRacingEverything) {
  Start();
  for (int round = 0; round < 30; ++round) {
    const std::string user = "u" + std::to_string(round);
    std::vector<std::shared_ptr<Reply>> replies;
    for (int i = 0; i < 10; ++i) replies.push_back(Shell(*service, user));
    std::thread other([&] {
      for (auto& r : replies) r->Cancel();
    });
    for (auto& r : replies) {
      r->Wait();
      EXPECT_TRUE(r->code == CSB_OK || r->code == CSB_E_CANCELLED) << r->code << r->message;
    }
    other.join();
  }
}

// ---- counting ----

TEST_F(ServiceTest, InfoSaysWhatTheServiceKnows) {
  Start();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Ask(*service, CSB_OP_FILE_LIST, "alice")->Wait().code, CSB_OK);
  const auto info = Json(Ask(*service, CSB_OP_STATUS, "alice")->Wait().result);
  EXPECT_EQ(json::GetInt(info, "execution_count"), 3);
  EXPECT_EQ(json::GetString(info, "backend"), "docker");
  EXPECT_EQ(json::GetString(info, "user_id"), "alice");
  EXPECT_EQ(json::GetString(info, "status"), "running");
  EXPECT_THAT(std::string(json::GetString(info, "last_used").value_or("")),
              testing::MatchesRegex("20..-..-..T..:..:..[.]...Z"));
  EXPECT_NE(json::Find(info, "enforced"), nullptr);
}

TEST_F(ServiceTest, MetricsComeAsCreditAllows) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  auto reply = Ask(*service, CSB_OP_METRICS, "", "", {.credit = 10});
  ASSERT_TRUE(Eventually([&] {
    std::lock_guard lock(reply->mutex);
    return reply->output.size() == 10;
  }));
  EXPECT_FALSE(reply->Done());
  for (int i = 0; i < 200; ++i) reply->Credit(1000);
  EXPECT_EQ(reply->Wait().code, CSB_OK);
  EXPECT_THAT(reply->output,
              HasSubstr(R"(csb_requests_total{backend="docker",operation="shell",status="ok"} 1)"));
  EXPECT_THAT(reply->output, HasSubstr(R"(csb_ends_total{cause="exit"} 1)"));
  EXPECT_THAT(reply->output, HasSubstr(R"(csb_sandboxes{backend="docker"} 1)"));
  auto cancelled = Ask(*service, CSB_OP_METRICS, "", "", {.credit = 0});
  cancelled->Cancel();
  EXPECT_EQ(cancelled->Wait().code, CSB_E_CANCELLED);
}

// "type" and "member" are what a backend of a cluster adds; "enforced" and others pass as well.
TEST_F(ServiceTest, TheMemberIsInTheInfoAndInTheMetrics) {
  Make();
  docker->SetMember("alice", "m1");
  docker->SetMember("bob", "m1");
  docker->Put("carol", true);
  docker->SetMember("carol", "m2");
  Start();
  const auto metric = [&](const std::string& labels, int n) {
    const std::string text = Ask(*service, CSB_OP_METRICS, "")->Wait().output;
    return text.find("csb_sandboxes{" + labels + "} " + std::to_string(n) + "\n") != std::string::npos;
  };
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "bob")->Wait().code, CSB_OK);
  EXPECT_EQ(Shell(*service, "dave")->Wait().code, CSB_OK);
  EXPECT_TRUE(metric(R"(backend="docker")", 1)) << "dave's has no member";
  EXPECT_TRUE(metric(R"(backend="docker",member="m1")", 2));
  EXPECT_TRUE(metric(R"(backend="docker",member="m2")", 1)) << "carol's was adopted";
  const auto status = Json(Ask(*service, CSB_OP_STATUS, "alice")->Wait().result);
  EXPECT_EQ(json::GetString(status, "member"), "m1");
  EXPECT_EQ(json::GetString(status, "type"), "container");
  const auto dave = Json(Ask(*service, CSB_OP_STATUS, "dave")->Wait().result);
  EXPECT_EQ(json::Find(dave, "member"), nullptr);
  // What the engine moves is seen with the next answer that says so.
  docker->SetMember("alice", "m3");
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_OK);
  docker->SetMember("bob", "m3");
  EXPECT_EQ(Ask(*service, CSB_OP_RESTART, "bob")->Wait().code, CSB_OK);
  docker->SetMember("carol", "m3");
  const auto list = Json(Ask(*service, CSB_OP_LIST, "")->Wait().result);
  const auto sandboxes = (*json::Find(list, "sandboxes")).GetArray();
  EXPECT_EQ(std::count_if(sandboxes.begin(), sandboxes.end(),
                          [](const auto& info) { return json::GetString(info, "member") == "m3"; }),
            3);
  EXPECT_TRUE(metric(R"(backend="docker",member="m3")", 3));
  EXPECT_TRUE(metric(R"(backend="docker",member="m1")", 0));
  for (const char* user : {"alice", "bob", "carol", "dave"})
    EXPECT_EQ(Ask(*service, CSB_OP_STOP, user)->Wait().code, CSB_OK);
  EXPECT_TRUE(metric(R"(backend="docker",member="m3")", 0));
  EXPECT_TRUE(metric(R"(backend="docker")", 0));
}

TEST_F(ServiceTest, TheAuditLogHasNoCode) {
  Start();
  Ask(*service, CSB_OP_SHELL, "alice", R"({"command":"echo geheim"})")->Wait();
  EXPECT_TRUE(services->Logged("op=shell user=alice-"));
  EXPECT_TRUE(services->Logged("backend=docker status=ok ms="));
  for (const auto& line : services->lines()) EXPECT_THAT(line, testing::Not(HasSubstr("geheim")));
}

TEST_F(ServiceTest, ListAndExplainAndInfo) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  const auto list = Json(Ask(*service, CSB_OP_LIST, "")->Wait().result);
  ASSERT_EQ((*json::Find(list, "sandboxes")).Size(), 1u);
  EXPECT_EQ(json::GetInt((*json::Find(list, "sandboxes"))[0], "execution_count"), 1);
  const auto explain = Json(Ask(*service, CSB_OP_EXPLAIN, "")->Wait().result);
  EXPECT_EQ(json::GetString(explain, "chosen"), "docker");
  EXPECT_EQ((*json::Find(explain, "candidates")).Size(), 2u);
  const auto info = Json(Ask(*service, CSB_OP_INFO, "")->Wait().result);
  EXPECT_EQ(json::GetInt(info, "active_sandboxes"), 1);
  EXPECT_EQ(json::GetInt(info, "max_sandboxes"), 1000);
  EXPECT_EQ(json::GetString(info, "docker_version"), "fake 1");
}

}  // namespace
}  // namespace csb::host

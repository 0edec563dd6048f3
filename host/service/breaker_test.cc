// SPDX-License-Identifier: Apache-2.0
//
// When a backend that fails is left alone, and when it is not: what one user meets closes it to nobody else.
#include <gmock/gmock.h>

#include "host/service/testing/fixture.h"

namespace csb::host {
namespace {

using testing::HasSubstr;

const Error kRefused{CSB_E_UNAVAILABLE, "connection refused", "", true};

class BreakerTest : public ServiceTest {
 protected:
  BreakerTest() { options.mode = "docker"; }
  // A backend in use: bob's sandbox is live, all probes and lists are in.
  void StartWithBob() {
    Start();
    ASSERT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
    ASSERT_TRUE(docker->WaitCount(CSB_OP_LIST, 1));
  }
  void FailThreeTimes(const std::string& user) {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(Shell(*service, user)->Wait().code, CSB_E_UNAVAILABLE);
  }
  // The backend is left alone; bob's sandbox is open, and has a channel of its own.
  void LeaveAloneBesideBob() {
    Make();
    options.breaker_open = 20s;
    docker->SetOwnChannel();
    StartWithBob();
    docker->Fail(CSB_OP_CREATE, kRefused);
    docker->SetAvailable(false, "no daemon");
    FailThreeTimes("alice");
    Shell(*service, "carol")->Wait();  // for the probe
    ASSERT_TRUE(services->Logged("is left alone for 20 s"));
  }
  bool EverLogged(const std::string& part) const {
    const auto lines = services->lines();
    return std::any_of(lines.begin(), lines.end(),
                       [&](const std::string& line) { return line.find(part) != std::string::npos; });
  }
  static auto Now() { return std::chrono::steady_clock::now(); }
};

// ---- a dead engine ----

TEST_F(BreakerTest, ADeadEngineOpensItAndAProbeClosesItAgain) {
  Make();
  options.breaker_open = 300ms;
  StartWithBob();
  docker->Fail(CSB_OP_CREATE, kRefused);
  docker->SetAvailable(false, "no daemon");
  FailThreeTimes("alice");
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 4) << "bob's, and three of hers";
  auto reply = Shell(*service, "carol");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("no daemon (connection refused)"));
  EXPECT_TRUE(reply->retryable);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 4) << "not asked again";
  EXPECT_TRUE(services->Logged("backend docker is left alone for 0.300 s: no daemon (connection refused)"));
  const int shells = docker->count(CSB_OP_SHELL);
  for (uint32_t op : {CSB_OP_STATUS, CSB_OP_STOP, CSB_OP_CREATE})
    EXPECT_EQ(Ask(*service, op, "bob")->Wait().code, CSB_E_UNAVAILABLE) << op;
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), shells);
  docker->Fail(CSB_OP_CREATE, std::nullopt);
  docker->SetAvailable(true);
  ASSERT_TRUE(Eventually([&] { return Shell(*service, "carol")->Wait().code == CSB_OK; }));
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
}

TEST_F(BreakerTest, AHungProbeOpensItAndCostsAllWhoWaitOneTimeoutTogether) {
  Make();
  options.probe_deadline = 1500ms;
  options.breaker_open = 20s;
  StartWithBob();
  docker->Fail(CSB_OP_CREATE, kRefused);
  docker->Hold(CSB_OP_PROBE);
  const auto began = Now();
  FailThreeTimes("alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_PROBE, 1));
  const int creates = docker->count(CSB_OP_CREATE);
  std::vector<std::shared_ptr<Reply>> waiting;
  for (int i = 0; i < 50; ++i) waiting.push_back(Shell(*service, "u" + std::to_string(i)));
  auto status = Ask(*service, CSB_OP_STATUS, "bob");
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK) << "an open sandbox is not concerned yet";
  EXPECT_FALSE(status->Done());
  for (const auto& reply : waiting) {
    EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(reply->message, HasSubstr("did not answer its probe within 1.500 s"));
  }
  EXPECT_EQ(status->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_LT(Now() - began, 15s) << "one after the other would be 75 s";
  EXPECT_EQ(docker->count(CSB_OP_CREATE), creates) << "nobody tried for himself";
  EXPECT_EQ(docker->count(CSB_OP_STATUS), 0);
  EXPECT_TRUE(services->Logged("is left alone for 20 s: did not answer its probe"));
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_UNAVAILABLE);
  const auto later = Now();
  EXPECT_EQ(Shell(*service, "dave")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_LT(Now() - later, 1200ms) << "known by now";
}

// The call that hangs is at the backend still: there is no second one, and nobody waits for the first.
TEST_F(BreakerTest, AProbeThatHangsAlreadyOpensItAtOnce) {
  Make();
  options.probe_deadline = 100ms;
  options.probe_refresh = 1ms;
  options.breaker_open = 20s;
  options.guard.deadline_grace = 3s;
  StartWithBob();
  docker->Hang();
  const int before = docker->count(CSB_OP_PROBE);
  ASSERT_TRUE(Eventually([&] {  // which refreshes what is known, and waits for nothing
    Ask(*service, CSB_OP_HEALTH, "")->Wait();
    return docker->count(CSB_OP_PROBE) > before;
  }));
  docker->Hang(false);
  ASSERT_TRUE(services->Logged("docker is not available: did not answer its probe"));
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
  const int probes = docker->count(CSB_OP_PROBE), shells = docker->count(CSB_OP_SHELL);
  docker->FailSubmit(CSB_OP_SHELL, kRefused);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), shells + 3) << "the fourth was refused";
  EXPECT_EQ(docker->count(CSB_OP_PROBE), probes);
  EXPECT_TRUE(EverLogged("did not answer its probe within 0.100 s (connection refused)"));
}

// ---- sandboxes that have a channel of their own ----

TEST_F(BreakerTest, OpenSandboxesThatNeedNoEngineGoOnWithoutIt) {
  options.breaker_patience = 20s;
  LeaveAloneBesideBob();
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
  const int statuses = docker->count(CSB_OP_STATUS);
  for (uint32_t op : {CSB_OP_STATUS, CSB_OP_STOP, CSB_OP_CREATE})
    EXPECT_EQ(Ask(*service, op, "bob")->Wait().code, CSB_E_UNAVAILABLE) << op << " asks the engine";
  EXPECT_EQ(docker->count(CSB_OP_STATUS), statuses);
  docker->Fail(CSB_OP_SHELL, kRefused);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_UNAVAILABLE);
  docker->Fail(CSB_OP_SHELL, std::nullopt);
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK) << "who was refused at once may try again";
}

TEST_F(BreakerTest, OneWhoseChannelHangsTooWaitsForItOnce) {
  options.breaker_patience = 0ms;
  LeaveAloneBesideBob();
  docker->Fail(CSB_OP_SHELL, kRefused);
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_UNAVAILABLE);
  const int shells = docker->count(CSB_OP_SHELL);
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), shells) << "not asked again";
}

// ---- one user's trouble ----

TEST_F(BreakerTest, AUserWhoAlwaysFailsClosesNothingToOthers) {
  Make();
  options.breaker_trust = 200ms;
  StartWithBob();
  const int before = docker->count(CSB_OP_PROBE);
  const auto began = Now();
  docker->FailFor("alice", CSB_OP_CREATE,
                  Error{CSB_E_UNAVAILABLE, "member m2 of the cluster does not answer", "", true});
  for (int i = 0; i < 60; ++i) {
    for (int n = 0; n < 4; ++n) {
      auto reply = Shell(*service, "alice");
      EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
      EXPECT_EQ(reply->message, "member m2 of the cluster does not answer") << "her own error, each time";
    }
    EXPECT_EQ(Shell(*service, "u" + std::to_string(i))->Wait().code, CSB_OK);
    EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
    EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "bob")->Wait().code, CSB_OK);
  }
  EXPECT_FALSE(EverLogged("is left alone"));
  EXPECT_TRUE(
      services->Logged("backend docker stays in use: operations failed in a row (member m2 of the "
                       "cluster does not answer), but its probe finds it well"));
  // It is asked, and not without a pause.
  const int probes = docker->count(CSB_OP_PROBE) - before;
  EXPECT_GE(probes, 1);
  EXPECT_LE(probes, 2 + (Now() - began) / options.breaker_trust);
  const auto health = Json(Ask(*service, CSB_OP_HEALTH, "")->Wait().result);
  EXPECT_EQ(json::GetString(health, "status"), "healthy");
}

TEST_F(BreakerTest, WhoWaitsForAGoodProbeIsServed) {
  Make();
  StartWithBob();
  docker->FailFor("alice", CSB_OP_CREATE, kRefused);
  docker->Hold(CSB_OP_PROBE);
  FailThreeTimes("alice");
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_PROBE, 1));
  auto carol = Shell(*service, "carol");
  auto restart = Ask(*service, CSB_OP_RESTART, "bob");
  auto cut_short = Shell(*service, "dave", {.deadline = 50ms});
  EXPECT_EQ(cut_short->Wait().code, CSB_E_DEADLINE) << "its own time still holds";
  EXPECT_FALSE(carol->Done());
  EXPECT_FALSE(restart->Done());
  EXPECT_EQ(docker->count(CSB_OP_RESTART), 0);
  docker->Release(CSB_OP_PROBE);
  EXPECT_EQ(carol->Wait().code, CSB_OK);
  EXPECT_EQ(restart->Wait().code, CSB_OK);
  EXPECT_FALSE(EverLogged("is left alone"));
}

TEST_F(BreakerTest, AnEngineThatDiesAfterAGoodProbeIsFoundOutAllTheSame) {
  Make();
  options.breaker_trust = 50ms;
  StartWithBob();
  docker->FailFor("alice", CSB_OP_CREATE, kRefused);
  FailThreeTimes("alice");
  ASSERT_TRUE(services->Logged("stays in use"));
  docker->Fail(CSB_OP_CREATE, kRefused);
  docker->SetAvailable(false, "no daemon");
  ASSERT_TRUE(Eventually([&] {
    auto reply = Shell(*service, "carol");
    return reply->Wait().message.find("no daemon") != std::string::npos;
  }));
  EXPECT_TRUE(services->Logged("is left alone"));
}

TEST_F(BreakerTest, FailuresOfLiveUsersOpenItOnlyIfTheProbeAgrees) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->Fail(CSB_OP_SHELL, Error{CSB_E_UNAVAILABLE, "I am broken, said the agent", "", true});
  for (int i = 0; i < 10; ++i) Shell(*service, "alice")->Wait();
  EXPECT_EQ(docker->count(CSB_OP_SHELL), 11) << "a lie of one sandbox closes nobody else's";
  docker->SetAvailable(false, "daemon gone");
  ASSERT_TRUE(Eventually([&] {
    auto reply = Shell(*service, "alice");
    return reply->Wait().message.find("daemon gone") != std::string::npos;
  }));
  const int before = docker->count(CSB_OP_SHELL);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(docker->count(CSB_OP_SHELL), before);
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_UNAVAILABLE);
  docker->SetAvailable(true);
  docker->Fail(CSB_OP_SHELL, std::nullopt);
  ASSERT_TRUE(Eventually([&] { return Shell(*service, "alice")->Wait().code == CSB_OK; }));
}

}  // namespace
}  // namespace csb::host

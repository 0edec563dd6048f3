// SPDX-License-Identifier: Apache-2.0
//
// Pins, adoption, hung backends, records.
#include <gmock/gmock.h>

#include <fstream>

#include "clara_sandbox/cpp/identity.h"
#include "host/service/record.h"
#include "host/service/testing/fixture.h"

namespace csb::host {
namespace {

using testing::HasSubstr;

class BackendsTest : public ServiceTest {
 protected:
  std::optional<UserRecord> Record(const std::string& user) {
    return RecordStore(options.state_dir, [](std::string) {}).Load(user);
  }
  void Write(const std::string& user, const std::string& backend) {
    ASSERT_TRUE(RecordStore(options.state_dir, [](std::string) {
                }).Save({.user = user, .backend = backend, .execution_count = 7}));
  }
};

// ---- pins ----

TEST_F(BackendsTest, AUserStaysWhereTheFilesAre) {
  Make();
  docker->SetAvailable(false, "Docker daemon not running");
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
  docker->SetAvailable(true);
  bubblewrap->Lose("alice");
  Restart();
  ASSERT_TRUE(services->Logged("docker is available"));
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
  EXPECT_FALSE(docker->Has("alice"));
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
  EXPECT_TRUE(docker->Live("bob"));
}

TEST_F(BackendsTest, APinnedUserOfADeadBackendGetsAClearAnswerAndNothingElsewhere) {
  Make();
  Write("alice", "docker");
  docker->SetAvailable(false, "Docker daemon not running");
  Start();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("files are on backend docker"));
  EXPECT_THAT(reply->message, HasSubstr("Docker daemon not running"));
  EXPECT_TRUE(reply->retryable);
  EXPECT_THAT(reply->hint, HasSubstr("start it"));
  EXPECT_THAT(reply->hint, HasSubstr("clara-sandbox move USER --to BACKEND"));
  for (uint32_t op : {CSB_OP_STATUS, CSB_OP_STOP, CSB_OP_DESTROY, CSB_OP_RESTART, CSB_OP_CREATE})
    EXPECT_EQ(Ask(*service, op, "alice")->Wait().code, CSB_E_UNAVAILABLE) << op;
  EXPECT_EQ(bubblewrap->count(CSB_OP_CREATE), 0);
}

TEST_F(BackendsTest, APinToABackendThatIsNotLoadedIsKept) {
  Make();
  Write("alice", "incus");
  Start();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("files are on backend incus, which is not loaded"));
  EXPECT_THAT(reply->hint, HasSubstr("clara-sandbox move USER --to BACKEND"));
  EXPECT_EQ(docker->count(CSB_OP_CREATE) + bubblewrap->count(CSB_OP_CREATE), 0);
}

TEST_F(BackendsTest, PurgeFreesTheUser) {
  Make();
  Write("alice", "bubblewrap");
  bubblewrap->Put("alice", false);
  Start();
  EXPECT_EQ(Ask(*service, CSB_OP_DESTROY, "alice", R"({"purge":true})")->Wait().code, CSB_OK);
  ASSERT_TRUE(Eventually([&] { return !Record("alice"); }));
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(docker->Live("alice"));
}

TEST_F(BackendsTest, ACreateMayNameItsBackendWhereThatIsAllowed) {
  options.allow_choice = {"all"};
  Start();
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "alice", R"({"backend":"bubblewrap"})")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "alice", R"({"backend":"docker"})")->Wait().code, CSB_E_CONFLICT);
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "bob", R"({"backend":"incus"})")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(docker->Has("alice"));
}

TEST_F(BackendsTest, AnotherProcessesRecordIsSeenAtTheNextCreate) {
  Start();
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND);
  bubblewrap->Put("alice", true);
  Write("alice", "bubblewrap");
  EXPECT_EQ(json::GetString(Json(Ask(*service, CSB_OP_STATUS, "alice")->Wait().result), "backend"),
            "bubblewrap");
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_FALSE(docker->Has("alice"));
}

TEST_F(BackendsTest, ACreateMayNotNameABackendUnlessThatIsAllowed) {
  Start();
  const auto create = [&](const char* user, const char* backend) {
    return Ask(*service, CSB_OP_CREATE, user, std::string(R"({"backend":")") + backend + R"("})")
        ->Wait()
        .code;
  };
  EXPECT_EQ(create("alice", "bubblewrap"), CSB_E_FORBIDDEN);
  EXPECT_EQ(create("alice", "docker"), CSB_E_FORBIDDEN) << "though it would be taken anyway";
  EXPECT_EQ(docker->count(CSB_OP_CREATE) + bubblewrap->count(CSB_OP_CREATE), 0);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(create("alice", "docker"), CSB_OK) << "where her files are is no choice";
  EXPECT_EQ(create("alice", "bubblewrap"), CSB_E_FORBIDDEN);
}

TEST_F(BackendsTest, OnlyBackendsThatAreAllowedMayBeNamed) {
  options.allow_choice = {"bubblewrap"};
  Start();
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "alice", R"({"backend":"docker"})")->Wait().code, CSB_E_FORBIDDEN);
  EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "alice", R"({"backend":"bubblewrap"})")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
}

// ---- what is required ----

std::string NetworkOf(const std::string& value) {
  return R"({"memory":{"enforced":true},"network":{"enforced":true,"value":")" + value + R"("}})";
}

TEST_F(BackendsTest, ABackendThatGivesANetworkIsPassedOverWhereNoneIsRequired) {
  Make();
  options.require = {"network-none"};
  docker->SetEnforced(NetworkOf("bridge"));
  bubblewrap->SetEnforced(NetworkOf("none"));
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("alice"));
  EXPECT_FALSE(docker->Has("alice"));
}

TEST_F(BackendsTest, ASandboxThatHasANetworkAfterAllIsRefused) {
  Make();
  options.require = {"network-none"};
  docker->SetEnforced(NetworkOf("none"));
  Start();
  ASSERT_TRUE(Eventually([&] {
    return json::GetString(Json(Ask(*service, CSB_OP_INFO, "")->Wait().result), "chosen") == "docker";
  }));
  docker->SetEnforced(NetworkOf("bridge"));
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("network-none (it has a network: bridge)"));
  EXPECT_THAT(reply->hint, HasSubstr("sandbox.require demands network-none"));
  EXPECT_FALSE(docker->Live("alice"));
}

TEST_F(BackendsTest, WithoutVirtualMachinesNobodyServesThoseWhoRequireThem) {
  options.require = {"vm"};
  Start();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message,
              HasSubstr("docker: makes no virtual machines, and vm is required; bubblewrap:"));
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 0);
}

TEST_F(BackendsTest, WhatIsRequiredHasToExist) {
  Make();
  options.require = {"privacy"};
  metrics = std::make_unique<Metrics>(std::vector<std::string>{"docker"}, "1");
  service = std::make_unique<Service>(options, std::vector<BackendInstance*>{docker->instance()}, *services,
                                      services->workers(), timers, *metrics);
  EXPECT_FALSE(service->Start());
}

// ---- info and explain ----

TEST_F(BackendsTest, InfoShowsEveryCandidateAndWhyAndWaitsForNone) {
  Make();
  options.passed_over = {{"incus", "is not in sandbox.backends", "add it there"}};
  docker->SetAvailable(false, "Docker daemon not running");
  bubblewrap->Hold(CSB_OP_PROBE);
  Start();
  const auto reasons = [&](uint32_t op) {
    std::map<std::string, std::string> found;
    const auto told = Json(Ask(*service, op, "")->Wait().result);
    for (const auto& c : json::Find(told, "candidates")->GetArray())
      found[std::string(*json::GetString(c, "name"))] = *json::GetString(c, "reason");
    return found;
  };
  ASSERT_TRUE(services->Logged("docker is not available"));
  std::map<std::string, std::string> expected = {{"docker", "Docker daemon not running"},
                                                 {"bubblewrap", "has not answered its probe yet"},
                                                 {"incus", "is not in sandbox.backends"}};
  EXPECT_EQ(reasons(CSB_OP_INFO), expected);
  bubblewrap->Release(CSB_OP_PROBE);
  expected["bubblewrap"] = "the first usable one of sandbox.order";
  EXPECT_EQ(reasons(CSB_OP_EXPLAIN), expected);
  EXPECT_EQ(reasons(CSB_OP_INFO), expected);
}

// ---- records ----

TEST_F(BackendsTest, RecordsKeepWhatNoEngineCan) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  Restart();
  EXPECT_EQ(Record("alice")->execution_count, 2u);
  EXPECT_EQ(Record("alice")->backend, "docker");
  EXPECT_EQ(json::GetInt(Json(Ask(*service, CSB_OP_STATUS, "alice")->Wait().result), "execution_count"), 2);
}

TEST_F(BackendsTest, AnOldRecordIsNotReadWhileTheNewOneIsWritten) {
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  ASSERT_TRUE(Eventually([&] { return Record("alice") && Record("alice")->execution_count == 1; }));
  // A disk that takes its time: the writer waits until somebody reads.
  const std::string pipe =
      options.state_dir + "/users/" + EngineName("alice") + ".json." + std::to_string(getpid()) + ".tmp";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(Ask(*service, CSB_OP_DESTROY, "alice")->Wait().code, CSB_OK);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND);
    std::this_thread::sleep_for(5ms);
  }
  std::ifstream(pipe).get();
}

TEST_F(BackendsTest, ADamagedRecordIsMovedAsideAndTheEngineIsBelieved) {
  Make();
  Write("alice", "docker");
  const std::string path = options.state_dir + "/users/" + EngineName("alice") + ".json";
  std::ofstream(path) << "{\"user\":\"ali";
  bubblewrap->Put("alice", true);
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_FALSE(docker->Has("alice"));
  EXPECT_EQ(bubblewrap->count(CSB_OP_SHELL), 1);
  EXPECT_TRUE(std::filesystem::exists(path + ".corrupt"));
  EXPECT_TRUE(services->Logged("is damaged"));
}

TEST_F(BackendsTest, AnUnwritableStateFolderIsAWarning) {
  Make();
  const std::string file = options.state_dir + "/file";
  std::ofstream(file) << "x";
  options.state_dir = file;
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_TRUE(services->Logged("was not kept"));
  options.state_dir = std::filesystem::path(file).parent_path();
}

// ---- adoption ----

TEST_F(BackendsTest, LiveSandboxesAreAdopted) {
  Make();
  options.max_sandboxes = 2;
  docker->Put("alice", true);
  docker->Put("bob", false);
  bubblewrap->Put("carol", true);
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Shell(*service, "carol")->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE) + bubblewrap->count(CSB_OP_CREATE), 0);
  EXPECT_EQ(active(), 2);
  EXPECT_EQ(Shell(*service, "dave")->Wait().code, CSB_E_NO_CAPACITY) << "they count";
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "carol")->Wait().code, CSB_OK);
  ASSERT_TRUE(Eventually([&] { return Shell(*service, "bob")->Wait().code == CSB_OK; }));
}

// Asking for it may have connected the backend to it, which keeps it alive: so it is idle-stopped too,
// unless another process uses it.
TEST_F(BackendsTest, ASandboxThatAnotherProcessMadeIsAdoptedByItsStatus) {
  Make("0.2");
  Write("alice", "docker");
  Start();
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_E_NOT_FOUND);
  docker->Put("alice", true);
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_OK);
  ASSERT_TRUE(docker->WaitCount(CSB_OP_STOP, 1));
  EXPECT_EQ(docker->last_payload(CSB_OP_STOP), R"({"if_unused":true})");
  EXPECT_TRUE(Eventually([&] { return active() == 0; }));
}

// Both answers were true when they were given.
TEST_F(BackendsTest, AnAnswerFromBeforeAStopMakesNoSandboxLive) {
  Make();
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  docker->HoldAnswers(CSB_OP_STATUS);
  auto status = Ask(*service, CSB_OP_STATUS, "alice");
  ASSERT_TRUE(docker->WaitHeldAnswers(1));
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().result, R"({"status":"stopped"})");
  docker->ReleaseAnswers();
  EXPECT_EQ(status->Wait().code, CSB_OK);
  EXPECT_EQ(active(), 0);
}

TEST_F(BackendsTest, AListFromBeforeAStopMakesNoSandboxLive) {
  options.adopt_deadline = 50ms;  // then the list is not waited for
  options.guard.deadline_grace = 60s;
  Make();
  docker->Put("alice", true);
  docker->HoldAnswers(CSB_OP_LIST);
  Start();
  ASSERT_TRUE(docker->WaitHeldAnswers(1));
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(Ask(*service, CSB_OP_STOP, "alice")->Wait().result, R"({"status":"stopped"})");
  docker->ReleaseAnswers();
  ASSERT_TRUE(services->Logged("backend docker has 1 sandboxes"));
  EXPECT_EQ(active(), 0);
}

TEST_F(BackendsTest, OperationsWaitForTheList) {
  Make();
  docker->Hold(CSB_OP_LIST);
  bubblewrap->Put("alice", true);
  bubblewrap->Hold(CSB_OP_LIST);
  Start();
  auto reply = Shell(*service, "alice");
  ASSERT_TRUE(bubblewrap->WaitHeld(CSB_OP_LIST, 1));
  ASSERT_TRUE(docker->WaitHeld(CSB_OP_LIST, 1));
  docker->Release(CSB_OP_LIST);
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(reply->Done());
  bubblewrap->Release(CSB_OP_LIST);
  EXPECT_EQ(reply->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 0) << "the files are on bubblewrap";
}

TEST_F(BackendsTest, TheEnginesListWinsOverTheRecord) {
  Make();
  Write("alice", "docker");
  bubblewrap->Put("alice", true);
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 0);
  EXPECT_EQ(bubblewrap->count(CSB_OP_SHELL), 1);
  EXPECT_TRUE(services->Logged("the files are on bubblewrap"));
}

// What the lists told is not on disk: a user whom nothing else keeps in memory is kept for it.
TEST_F(BackendsTest, WhatTheEnginesListToldOfAKnownUserIsNotForgotten) {
  Make();
  ASSERT_TRUE(RecordStore(options.state_dir, [](std::string) {
              }).Save({.user = "alice", .backend = "docker", .created_ms = 1}));
  bubblewrap->Put("alice", false);
  Start();
  ASSERT_TRUE(services->Logged("the files are on bubblewrap"));
  EXPECT_EQ(active(), 0);  // answered after what the lists led to
  EXPECT_EQ(Ask(*service, CSB_OP_STATUS, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(active(), 0);
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK);
  EXPECT_EQ(docker->count(CSB_OP_CREATE), 0);
  EXPECT_EQ(bubblewrap->count(CSB_OP_SHELL), 1);
}

TEST_F(BackendsTest, AnUnenforcedLiveSandboxIsNotAdoptedByAPublicService) {
  Make();
  options.public_listener = true;
  docker->SetEnforced("{}");
  docker->Put("alice", true);
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(docker->Live("alice"));
  EXPECT_EQ(docker->count(CSB_OP_STOP), 1) << "stopped, its files kept";
  EXPECT_TRUE(docker->Has("alice"));
}

// ---- hung and dead backends ----

TEST_F(BackendsTest, AHungBackendDelaysOnlyItsOwnUsers) {
  Make();
  options.probe_deadline = 2500ms;
  options.adopt_deadline = 2500ms;
  Write("alice", "docker");
  Write("bob", "bubblewrap");
  bubblewrap->Put("bob", false);
  docker->Hang();
  Start();
  auto alice = Shell(*service, "alice");
  auto carol = Shell(*service, "carol");
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
  const auto health = Json(Ask(*service, CSB_OP_HEALTH, "")->Wait().result);
  EXPECT_FALSE(alice->Done()) << "the others were served while she waited";
  EXPECT_EQ(json::GetString(health, "status"), "healthy");
  EXPECT_EQ(json::GetBool(health, "docker"), false);
  EXPECT_EQ(json::GetBool(*json::Find(*json::Find(health, "backends"), "bubblewrap"), "available"), true);
  EXPECT_EQ(alice->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(alice->message, HasSubstr("did not answer its probe"));
  EXPECT_EQ(carol->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("carol"));
  const auto later = std::chrono::steady_clock::now();
  EXPECT_EQ(Shell(*service, "dave")->Wait().code, CSB_OK);
  EXPECT_LT(std::chrono::steady_clock::now() - later, 2000ms) << "known by now";
  const auto list = Json(Ask(*service, CSB_OP_LIST, "")->Wait().result);
  EXPECT_EQ((*json::Find(list, "unavailable")).Size(), 1u);
}

TEST_F(BackendsTest, ABackendWhoseSubmitHangsDelaysOnlyItsOwnUsers) {
  Make();
  options.probe_deadline = options.adopt_deadline = 300ms;
  options.probe_refresh = 100ms;
  options.guard.lane_wait = 200ms;
  Write("alice", "docker");
  docker->HangSubmit(CSB_OP_PROBE);
  Start();
  EXPECT_EQ(Shell(*service, "bob")->Wait().code, CSB_OK);
  EXPECT_TRUE(bubblewrap->Live("bob"));
  const auto alice = Shell(*service, "alice");
  EXPECT_EQ(alice->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(alice->message, HasSubstr("docker"));
  const auto list = Json(Ask(*service, CSB_OP_LIST, "")->Wait().result);
  const json::Value& unavailable = *json::Find(list, "unavailable");
  ASSERT_EQ(unavailable.Size(), 1u);
  EXPECT_EQ(json::GetString(unavailable[0], "reason"), "plugin docker hangs in a call (rule 21)");
  EXPECT_TRUE(services->Logged("plugin docker has not returned from submit of operation probe (rule 21)"));

  docker->HangSubmit(CSB_OP_PROBE, false);
  EXPECT_TRUE(Eventually([&] { return Shell(*service, "alice")->Wait().code == CSB_OK; }));
  EXPECT_TRUE(docker->Live("alice"));
}

TEST_F(BackendsTest, ABackendThatComesUpIsUsedAndAdopted) {
  Make();
  options.probe_refresh = 50ms;
  docker->SetAvailable(false, "Docker daemon not running");
  docker->Fail(CSB_OP_LIST, Error{CSB_E_UNAVAILABLE, "no daemon", "", true});
  docker->Put("alice", true);
  bubblewrap->SetAvailable(false, "no bwrap");
  Start();
  auto reply = Shell(*service, "alice");
  EXPECT_EQ(reply->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(reply->message, HasSubstr("docker: Docker daemon not running; bubblewrap: no bwrap"));
  EXPECT_EQ(json::GetString(Json(Ask(*service, CSB_OP_HEALTH, "")->Wait().result), "status"), "unhealthy");
  docker->Fail(CSB_OP_LIST, std::nullopt);
  docker->SetAvailable(true);
  ASSERT_TRUE(Eventually([&] { return Shell(*service, "alice")->Wait().code == CSB_OK; }));
}

TEST_F(BackendsTest, ANamedModeUsesNothingElse) {
  Make();
  options.mode = "docker";
  docker->SetAvailable(false, "Docker daemon not running");
  Start();
  EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(bubblewrap->count(CSB_OP_CREATE), 0);
}

TEST_F(BackendsTest, AnUnknownModeIsRefusedAtStart) {
  Make();
  options.mode = "podman";
  metrics = std::make_unique<Metrics>(std::vector<std::string>{"docker"}, "1");
  service = std::make_unique<Service>(options, std::vector<BackendInstance*>{docker->instance()}, *services,
                                      services->workers(), timers, *metrics);
  const auto s = service->Start();
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, CSB_E_INVALID);
}

}  // namespace
}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/registry.h"

#include <future>

#include "plugins/incus/fake_incus_fixture.h"

namespace csb::incus {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using RegistryTest = FakeIncusTest;

TEST_F(RegistryTest, ACreateIsOneInstanceOneVolumeOneRecord) {
  const auto host = Start();
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  ASSERT_THAT(server_.Instances(), SizeIs(1));
  auto instance = server_.Of(InstanceOf("alice"));
  EXPECT_EQ(instance.status, "Running");
  EXPECT_EQ(instance.config[kKeyInstallation], kInstallation);
  EXPECT_EQ(instance.config[kKeyUser], "alice");
  EXPECT_EQ(instance.config[kKeyHost], host->mark->id());
  EXPECT_EQ(instance.config[kKeyMachine], kHere);
  EXPECT_EQ(instance.config[kKeyChannel], "exec");
  EXPECT_EQ(instance.devices["ws"]["source"], VolumeOf("alice"));
  EXPECT_EQ(server_.VolumeOf(VolumeOf("alice")).config[kKeyUser], "alice");
  const Record record = RecordOf("alice");
  EXPECT_EQ(record.instance, instance.name);
  EXPECT_EQ(record.volume, VolumeOf("alice"));
  EXPECT_EQ(record.limits, options_.limits);
  EXPECT_EQ(host->registry->Find("alice"), *sandbox);
  // Again: the same, and the engine is asked nothing.
  const size_t asked = server_.requests().size();
  EXPECT_EQ(*host->Create("alice"), *sandbox);
  EXPECT_EQ(server_.requests().size(), asked);
}

TEST_F(RegistryTest, AFirstCreateThatFailsLeavesNothing) {
  const auto host = Start();
  const std::pair<const char*, const char*> steps[] = {
      {"POST", "/volumes/custom"}, {"POST", "/1.0/instances?"}, {"POST", "/files"}, {"POST", "/exec"}};
  for (const auto& [method, step] : steps) {
    server_.Fail(method, step, 500, "out of luck");
    const auto refused = host->Create("alice");
    ASSERT_FALSE(refused) << step;
    EXPECT_EQ(refused.error().code, CSB_E_UNAVAILABLE) << step;
    EXPECT_THAT(refused.error().message, HasSubstr("out of luck")) << step;
    ExpectNothing(step);
  }
  server_.FailStarts(1);
  EXPECT_THAT(host->Create("alice").error().message, HasSubstr("out of luck"));
  ExpectNothing("start");
  EXPECT_TRUE(host->Create("alice"));
}

TEST_F(RegistryTest, AnAgentThatEndsAtOnceLeavesNothing) {
  const auto host = Start();
  server_.Mute(true);
  const auto refused = host->Create("alice");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(refused.error().message, HasSubstr("the console's last words"));
  ExpectNothing("");
}

TEST_F(RegistryTest, ALaterCreateThatFailsKeepsTheFiles) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  ASSERT_TRUE(host->registry->Destroy("alice", false));
  server_.Fail("POST", "/exec", 500, "out of luck");
  EXPECT_FALSE(host->Create("alice"));
  EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
  EXPECT_EQ(RecordOf("alice").volume, VolumeOf("alice"));
  EXPECT_TRUE(host->Create("alice"));
}

TEST_F(RegistryTest, FilesWhoseRecordWasLostSurviveACreateThatFails) {
  AddVolume("alice");
  const auto host = Start();
  server_.Fail("POST", "/exec", 500, "out of luck");
  EXPECT_FALSE(host->Create("alice"));
  EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
  ASSERT_TRUE(host->Create("alice"));
  EXPECT_EQ(server_.volumes(), 1u);
}

// A purge removes what the record names: it must never name somebody else's.
TEST_F(RegistryTest, AVolumeOfAnotherUserIsNotUsed) {
  server_.Add(
      FakeIncus::Volume{.name = VolumeOf("alice"), .config = Ours("workspace", {{kKeyUser, "mallory"}})});
  const auto host = Start();
  const auto refused = host->Create("alice");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_CONFLICT);
  EXPECT_THAT(refused.error().message, HasSubstr("somebody else"));
  EXPECT_EQ(server_.made(), 0u) << "no instance has ever had it";
  EXPECT_FALSE(HasRecord("alice"));
  ASSERT_TRUE(host->registry->Destroy("alice", true));
  EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
}

TEST_F(RegistryTest, AnInstanceThatIsNotOursIsLeftAlone) {
  for (const char* status : {"Running", "Stopped"}) {
    const Config foreign = {{kKeyInstallation, "another"}, {kKeyMachine, kHere}};
    Write(NewRecord("alice"));
    server_.Add(FakeIncus::Instance{.name = InstanceOf("alice"), .status = status, .config = foreign});
    auto host = Start();
    const auto refused = host->Create("alice");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, CSB_E_CONFLICT) << status;
    EXPECT_THAT(refused.error().message, HasSubstr(InstanceOf("alice"))) << status;
    host.reset();  // waits for what is still to be done
    EXPECT_TRUE(server_.Has(InstanceOf("alice"))) << status;
  }
}

TEST_F(RegistryTest, ADeadInstanceMakesWayForTheNextWithTheSameFiles) {
  const std::string dead = AddUsers("alice", "Stopped");
  const auto host = Start();
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().name, InstanceOf("alice", 2));
  EXPECT_EQ(server_.Of(InstanceOf("alice", 2)).devices["ws"]["source"], VolumeOf("alice"));
  EXPECT_EQ(RecordOf("alice").instance, InstanceOf("alice", 2));
  EXPECT_TRUE(Becomes([&] { return !server_.Has(dead); }));
}

TEST_F(RegistryTest, AFrozenOneIsNeitherUsedNorKilled) {
  const std::string name = AddUsers("alice", "Running");
  server_.SetStatus(name, "Frozen");
  const auto host = Start();
  for (const auto& refused : {host->Create("alice"), host->registry->Attach("alice")}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, CSB_E_CONFLICT) << "no failure of the backend's";
    EXPECT_THAT(refused.error().hint, HasSubstr("incus resume"));
  }
  EXPECT_EQ(server_.Of(name).status, "Frozen");
  EXPECT_EQ(RecordOf("alice").generation, 1u);
}

TEST_F(RegistryTest, AnotherHostFindsWhatOneMade) {
  for (const char* where : {kHere, kElsewhere}) {
    auto a = Start();
    ASSERT_TRUE(a->Create("alice"));
    const std::string name = RecordOf("alice").instance;
    const auto b = Start(where);
    EXPECT_EQ(b->registry->Find("alice"), nullptr);
    const auto both = b->registry->Attach("alice");
    ASSERT_TRUE(both) << both.error().message;
    EXPECT_EQ((*both)->live().name, name);
    // Whoever is not needed lets go without harm; the last one ends it.
    EXPECT_EQ(*a->registry->Stop("alice", true), Registry::StopResult::kLeft);
    EXPECT_EQ(a->registry->Find("alice"), nullptr);
    Kill(std::move(a));
    EXPECT_EQ(server_.Of(name).status, "Running");
    EXPECT_TRUE((*both)->channel());
    // The engine takes a moment to see that a stream is closed.
    EXPECT_TRUE(Becomes([&] { return *b->registry->Stop("alice", true) == Registry::StopResult::kStopped; }));
    EXPECT_TRUE(Becomes([&] { return !server_.Has(name); }));
    ASSERT_TRUE(b->registry->Destroy("alice", true));
  }
}

// A host that is attached to nothing must not stop what another one uses, nor what it can't see.
TEST_F(RegistryTest, AnIdleStopAsksWhoElseIsThere) {
  const auto first = Start(), second = Start(kElsewhere);
  ASSERT_TRUE(first->Create("alice"));
  EXPECT_EQ(*second->registry->Stop("alice", true), Registry::StopResult::kLeft);
  server_.Fail("POST", "/exec", 500, "out of luck");
  EXPECT_EQ(*first->registry->Stop("alice", true), Registry::StopResult::kLeft);
  EXPECT_EQ(server_.Of(InstanceOf("alice")).status, "Running");
}

// ---- the end ----

TEST_F(RegistryTest, OfTwoStopsAtOnceOneMovesTheRecordOn) {
  const auto a = Start(), b = Start(kElsewhere);
  ASSERT_TRUE(a->Create("alice"));
  const uint64_t generation = RecordOf("alice").generation;
  server_.Before("PUT", "/1.0/profiles/", [&] { EXPECT_TRUE(b->registry->Stop("alice", false)); });
  const auto stopped = a->registry->Stop("alice", false);
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(*stopped, Registry::StopResult::kStopped);
  EXPECT_EQ(RecordOf("alice").generation, generation + 1) << "once, not twice";
  EXPECT_TRUE(Becomes([&] { return server_.Instances().empty(); }));
  const auto next = a->Create("alice");
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_EQ((*next)->live().name, InstanceOf("alice", generation + 1));
}

// It has not seen what was started since it looked: what it knows is not what it ends.
TEST_F(RegistryTest, AStopLeavesNothingThatWasStartedMeanwhile) {
  const auto a = Start(), b = Start(kElsewhere);
  ASSERT_TRUE(a->Create("alice"));
  const uint64_t generation = RecordOf("alice").generation;
  server_.Before("PUT", "/1.0/profiles/", [&] { EXPECT_TRUE(b->registry->Restart("alice", {})); });
  const auto stopped = a->registry->Stop("alice", false);
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(*stopped, Registry::StopResult::kStopped);
  EXPECT_EQ(RecordOf("alice").generation, generation + 2);
  EXPECT_TRUE(Becomes([&] { return server_.Instances().empty(); }));
}

TEST_F(RegistryTest, AnEngineThatDoesNotStopItIsNoStop) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  const std::string name = InstanceOf("alice");
  server_.Fail("PUT", "/state", 500, "out of luck");
  EXPECT_FALSE(host->registry->Stop("alice", false));
  EXPECT_EQ(InstanceOf("alice"), name);
  EXPECT_EQ(*host->registry->Stop("alice", false), Registry::StopResult::kStopped);
}

TEST_F(RegistryTest, ARestartIsAnotherInstanceWithTheSameFiles) {
  const auto host = Start();
  EXPECT_EQ(host->registry->Restart("alice", {}).error().code, CSB_E_NOT_FOUND);
  ASSERT_TRUE(host->Create("alice", R"({"memory_limit":"32m"})"));
  const std::string first = InstanceOf("alice");
  const auto again = host->registry->Restart("alice", {});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_NE((*again)->live().name, first);
  EXPECT_EQ((*again)->live().name, InstanceOf("alice"));
  EXPECT_EQ((*again)->live().limits.memory, 32u << 20);
  EXPECT_EQ(server_.Of(InstanceOf("alice")).devices["ws"]["source"], VolumeOf("alice"));
  EXPECT_TRUE(Becomes([&] { return server_.Instances().size() == 1; }));
}

TEST_F(RegistryTest, DestroyKeepsFilesUnlessTheyArePurged) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  auto kept = host->registry->Destroy("alice", false);
  ASSERT_TRUE(kept);
  EXPECT_TRUE(kept->existed && kept->files_remain);
  EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
  ASSERT_TRUE(host->Create("alice"));
  // What can't be removed is not forgotten.
  server_.Fail("DELETE", "/volumes/", 500, "device busy", 20);
  EXPECT_FALSE(host->registry->Destroy("alice", true));
  EXPECT_TRUE(HasRecord("alice"));
  ASSERT_TRUE(server_.HasVolume(VolumeOf("alice")));
  Result<Registry::Destroyed> purged = Registry::Destroyed();
  while (server_.HasVolume(VolumeOf("alice"))) purged = host->registry->Destroy("alice", true);
  ASSERT_TRUE(purged);
  EXPECT_FALSE(purged->files_remain);
  ExpectNothing("after a purge");
  EXPECT_FALSE(host->registry->Destroy("alice", true)->existed);
}

TEST_F(RegistryTest, APurgeWaitsForWhatStillHoldsTheFiles) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  const std::string old = InstanceOf("alice", 7);
  server_.Add(FakeIncus::Instance{.name = old,
                                  .status = "Stopped",
                                  .config = Ours("sandbox", {{kKeyUser, "alice"}}),
                                  .devices = Workspace(VolumeOf("alice"))});
  // The engine is at it already, for a while.
  server_.Fail("DELETE", old, 400, "Instance is busy running a \"delete\" operation", 3);
  const auto done = host->registry->Destroy("alice", true);
  ASSERT_TRUE(done) << done.error().message;
  ExpectNothing("after a purge");
}

// What holds the files goes right after they could not be deleted for its sake.
TEST_F(RegistryTest, APurgeLooksAgainAtFilesThatAreFreeMeanwhile) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  server_.Add(FakeIncus::Instance{.name = InstanceOf("alice", 7),
                                  .status = "Stopped",
                                  .config = Ours("sandbox", {{kKeyUser, "alice"}}),
                                  .devices = Workspace(VolumeOf("alice"))});
  server_.Before("GET", "/volumes/custom/", [&] {
    EXPECT_TRUE(engine_->DeleteInstance(InstanceOf("alice", 7), kChangeLimit));
    EXPECT_TRUE(Becomes([&] { return server_.Instances().empty(); }));
  });
  const auto done = host->registry->Destroy("alice", true);
  ASSERT_TRUE(done) << done.error().message;
  ExpectNothing("after a purge");
}

TEST_F(RegistryTest, APurgeLeavesWhatSomebodyElseUses) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  server_.Add(
      FakeIncus::Instance{.name = "backup", .status = "Running", .devices = Workspace(VolumeOf("alice"))});
  const auto refused = host->registry->Destroy("alice", true);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("still in use"));
  EXPECT_EQ(server_.Of("backup").status, "Running");
  EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
  EXPECT_TRUE(HasRecord("alice"));
}

// What is still to be removed must not be what has come in its place.
TEST_F(RegistryTest, ACreateAfterAPurgeIsNotTakenForWhatWasPurged) {
  auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  std::promise<void> go;
  const auto gone = go.get_future().share();
  std::atomic<int> busy{0};
  for (int i = 0; i < 2; ++i)  // all its workers
    ASSERT_TRUE(host->host.ref().Post([&busy, gone] {
      ++busy;
      gone.wait();
    }));
  ASSERT_TRUE(Becomes([&] { return busy == 2; }));
  ASSERT_TRUE(host->registry->Destroy("alice", true));
  const auto sandbox = host->Create("alice");
  go.set_value();
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  std::promise<void> through;
  ASSERT_TRUE(host->host.ref().Post([&] { through.set_value(); }));
  through.get_future().wait();
  const std::string name = (*sandbox)->live().name;
  host.reset();  // waits for what is still to be done
  EXPECT_EQ(server_.Of(name).status, "Running");
}

TEST_F(RegistryTest, AWorkspaceThatWasDeletedByHandIsMadeAnew) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  ASSERT_TRUE(host->registry->Destroy("alice", false));
  ASSERT_TRUE(Becomes([&] { return server_.Instances().empty(); }));
  server_.RemoveVolume(VolumeOf("alice"));
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ(server_.VolumeOf(VolumeOf("alice")).config[kKeyUser], "alice");
}

// To a host with another agent they are old ones, once nobody uses them.
TEST_F(RegistryTest, ToolsThatWereRemovedAreMadeAnew) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  ASSERT_TRUE(host->registry->Destroy("alice", true));
  ASSERT_TRUE(Becomes([&] { return server_.Instances().empty(); }));
  const std::string tools = names_.ToolsVolume(*host->registry->launcher().ToolsDigest());
  FakeIncus::Volume volume = server_.VolumeOf(tools);
  ASSERT_EQ(volume.name, tools);
  volume.created = kLongAgo;
  server_.Add(volume);
  WriteText(folder_ / "newer", "a newer agent");
  options_.agent = folder_ / "newer";
  ASSERT_TRUE(Start(kElsewhere)->Sweep());
  ASSERT_FALSE(server_.HasVolume(tools));
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_TRUE(server_.HasVolume(tools));
  EXPECT_EQ(server_.Of(InstanceOf("alice")).devices["tools"]["source"], tools);
}

// ---- what can't be told ----

TEST_F(RegistryTest, AMemberThatIsDownLosesNothing) {
  const std::string name = AddUsers("alice", "Running");
  server_.AddMember("m1");
  server_.AddMember("m2", "Offline");
  Record record = NewRecord("alice");
  record.member = "m2";
  Write(record);
  server_.SetStatus(name, "Error");
  for (int turn = 0; turn < 2; ++turn) {
    auto host = Start();
    const auto refused = [&](const auto& result, const char* what) {
      ASSERT_FALSE(result) << what;
      EXPECT_EQ(result.error().code, CSB_E_UNAVAILABLE) << what;
      EXPECT_TRUE(result.error().retryable) << what;
    };
    if (turn == 0) refused(host->registry->Attach("alice"), "attach");
    refused(host->registry->Stop("alice", false), "stop");
    refused(host->registry->Destroy("alice", true), "purge");
    refused(host->registry->Restart("alice", {}), "restart");
    refused(host->Create("alice"), "create");
    host.reset();
    EXPECT_EQ(server_.Of(name).status, "Error");
    EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
    EXPECT_EQ(RecordOf("alice").generation, 1u);
  }
  EXPECT_EQ(server_.Count("DELETE"), 0);
}

TEST_F(RegistryTest, ARecordThatCantBeReadStopsEverything) {
  AddVolume("alice");
  const std::string record = names_.Record(KeyOf("alice"));
  Record other = NewRecord("mallory");
  for (const Config& config : {Config{}, Config{{kKeyUser, "alice"}}, ConfigOf(other, kInstallation)}) {
    server_.Add(ProfileInfo{record, config, "", {}});
    const auto host = Start();
    EXPECT_FALSE(host->Create("alice"));
    EXPECT_FALSE(host->registry->Stop("alice", false));
    EXPECT_FALSE(host->registry->Destroy("alice", true));
    EXPECT_TRUE(server_.HasProfile(record));
    EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
    EXPECT_THAT(server_.Instances(), IsEmpty());
  }
}

TEST_F(RegistryTest, AnEngineThatCantSayDoesNotMeanNothingIsThere) {
  const std::string name = AddUsers("alice", "Running");
  const auto host = Start();
  for (const char* part : {"/1.0/profiles/", "/1.0/instances/"}) {
    server_.Fail("GET", part, 500, "out of luck", 3);
    EXPECT_FALSE(host->Create("alice")) << part;
    EXPECT_FALSE(host->registry->Stop("alice", false)) << part;
    EXPECT_FALSE(host->registry->Destroy("alice", true)) << part;
    EXPECT_EQ(server_.Of(name).status, "Running") << part;
    EXPECT_EQ(RecordOf("alice").generation, 1u) << part;
  }
  EXPECT_TRUE(host->Create("alice"));
}

// ---- streams, events, wishes ----

TEST_F(RegistryTest, AStreamThatWasCutIsOpenedAgain) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  const std::string name = InstanceOf("alice");
  server_.CutStreams();
  ASSERT_TRUE(Becomes([&] { return host->registry->Find("alice") == nullptr; }));
  const auto again = host->registry->Attach("alice");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->live().name, name) << "the sandbox has not ended";
}

TEST_F(RegistryTest, WhatIsPostedForALostSandboxNeedsNothingOnceItsHostEnds) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  host->host.HoldWork();
  server_.CutStreams();
  EXPECT_TRUE(host->host.HoldsWork());
}

TEST_F(RegistryTest, WhatTheEventsMissedIsComparedLater) {
  const auto host = Start();
  for (const char* user : {"alice", "bob", "carol"}) ASSERT_TRUE(host->Create(user));
  server_.SetStatus(InstanceOf("bob"), "Frozen");
  server_.SetStatus(InstanceOf("carol"), "Stopped");
  host->registry->Compare();
  EXPECT_TRUE(host->registry->Find("alice")->channel());
  ASSERT_TRUE(host->registry->Find("bob"));
  EXPECT_TRUE(host->registry->Find("bob")->paused());
  EXPECT_TRUE(Becomes([&] { return host->registry->Find("carol") == nullptr; }));
  // As an event tells it.
  host->registry->OnLifecycle("instance-resumed", InstanceOf("bob"));
  EXPECT_FALSE(host->registry->Find("bob")->paused());
  host->registry->OnLifecycle("instance-stopped", InstanceOf("alice"));
  EXPECT_TRUE(Becomes([&] { return host->registry->Find("alice") == nullptr; }));
}

TEST_F(RegistryTest, OneThatEndsWithoutAHostIsMovedOnFrom) {
  { ASSERT_TRUE(Start()->Create("alice")); }
  const std::string name = InstanceOf("alice");
  const auto host = Start();
  ASSERT_TRUE(host->Sweep()) << "which sees it alive";
  server_.SetStatus(name, "Stopped");
  host->registry->OnLifecycle("instance-shutdown", name);
  EXPECT_TRUE(Becomes([&] { return !server_.Has(name); }));
}

TEST_F(RegistryTest, WhatALiveSandboxHasCantBeAskedOtherwise) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  for (const char* payload : {R"({"memory_limit":"128m"})", R"({"cpu_limit":0.25})"}) {
    const auto refused = host->Create("alice", payload);
    ASSERT_FALSE(refused) << payload;
    EXPECT_EQ(refused.error().code, CSB_E_CONFLICT);
    EXPECT_THAT(refused.error().hint, HasSubstr("files are kept"));
  }
  EXPECT_TRUE(host->Create("alice", R"({"memory_limit":"64m","cpu_limit":1})"));
  const auto refused = host->Create("bob", R"({"image":"someone/else"})");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_INVALID);
  EXPECT_THAT(refused.error().hint, HasSubstr("incus.images"));
}

TEST_F(RegistryTest, FilesStayOnTheirMember) {
  for (const char* member : {"m1", "m2", "m3"}) server_.AddMember(member);
  const auto a = Start();
  ASSERT_TRUE(a->Create("alice"));
  const std::string member = server_.VolumeOf(VolumeOf("alice")).location;
  EXPECT_THAT(member, AnyOf("m1", "m2", "m3"));
  EXPECT_EQ(RecordOf("alice").member, member);
  EXPECT_EQ(server_.Of(InstanceOf("alice")).location, member);
  ASSERT_TRUE(a->registry->Destroy("alice", false));
  for (int turn = 0; turn < 3; ++turn) {
    const auto b = Start(kElsewhere);
    ASSERT_TRUE(b->Create("alice"));
    EXPECT_EQ(server_.Of(InstanceOf("alice")).location, member);
    ASSERT_TRUE(b->registry->Destroy("alice", false));
  }
}

}  // namespace
}  // namespace csb::incus

// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/registry.h"

#include "plugins/docker/fake_engine_fixture.h"

namespace csb::docker {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

using RegistryTest = FakeEngineTest;

TEST_F(RegistryTest, ACreateIsOneContainerOneVolumeOneRecord) {
  const auto host = Start();
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  ASSERT_EQ(engine_.All().size(), 1u);
  const auto container = engine_.Of(NameOf("alice"));
  EXPECT_EQ(container.status, "running");
  EXPECT_EQ(container.labels.at(kLabelInstallation), kInstallation);
  EXPECT_EQ(container.labels.at(kLabelUser), "alice");
  EXPECT_TRUE(engine_.HasVolume(NameOf("alice")));
  EXPECT_EQ(RecordOf("alice").container, container.id);
  EXPECT_EQ(RecordOf("alice").volume, container.volume);
  EXPECT_EQ(host->registry->Find("alice"), *sandbox);
  // Again: the same, and the engine is asked nothing.
  const size_t asked = engine_.requests().size();
  EXPECT_EQ(*host->Create("alice"), *sandbox);
  EXPECT_EQ(engine_.requests().size(), asked);
}

TEST_F(RegistryTest, AFirstCreateThatFailsLeavesNothing) {
  const auto host = Start();
  for (const char* step : {"/volumes/create", "/containers/create", "/start"}) {
    engine_.Fail("POST", step, "500 Internal Server Error", "out of luck");
    const auto refused = host->Create("alice");
    ASSERT_FALSE(refused) << step;
    EXPECT_EQ(refused.error().code, CSB_E_UNAVAILABLE) << step;
    EXPECT_THAT(refused.error().message, HasSubstr("out of luck")) << step;
    EXPECT_THAT(engine_.All(), IsEmpty()) << step;
    EXPECT_EQ(engine_.volumes(), 0u) << step;
    EXPECT_FALSE(Exists(RecordPath("alice"))) << step;
    EXPECT_FALSE(Exists(names_.Slot(KeyOf("alice")))) << step;
  }
  EXPECT_TRUE(host->Create("alice"));
}

TEST_F(RegistryTest, ALaterCreateThatFailsKeepsTheFiles) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  ASSERT_TRUE(host->registry->Destroy("alice", false));
  engine_.Fail("POST", "/start", "500 Internal Server Error", "out of luck");
  EXPECT_FALSE(host->Create("alice"));
  EXPECT_TRUE(engine_.HasVolume(NameOf("alice")));
  EXPECT_EQ(RecordOf("alice").volume, NameOf("alice"));
}

TEST_F(RegistryTest, FilesWhoseRecordWasLostSurviveACreateThatFails) {
  engine_.AddVolume(NameOf("alice"), Ours("sandbox", {{kLabelUser, "alice"}}));
  const auto host = Start();
  engine_.Fail("POST", "/start", "500 Internal Server Error", "out of luck");
  EXPECT_FALSE(host->Create("alice"));
  EXPECT_TRUE(engine_.HasVolume(NameOf("alice")));
}

TEST_F(RegistryTest, AVolumeOfAnotherUserIsNotUsed) {
  engine_.AddVolume(NameOf("alice"), Ours("sandbox", {{kLabelUser, "mallory"}}));
  const auto host = Start();
  const auto refused = host->Create("alice");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_CONFLICT);
  EXPECT_THAT(engine_.All(), IsEmpty());
  EXPECT_TRUE(engine_.HasVolume(NameOf("alice")));
}

TEST_F(RegistryTest, AContainerThatIsNotOursIsLeftAlone) {
  const std::string id = engine_.Add({.name = NameOf("alice"), .labels = {{kLabelInstallation, "another"}}});
  const auto host = Start();
  const auto refused = host->Create("alice");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_CONFLICT);
  EXPECT_THAT(refused.error().message, HasSubstr(NameOf("alice")));
  EXPECT_TRUE(engine_.Has(id));
}

TEST_F(RegistryTest, ADeadContainerMakesWayForANewOneWithTheSameFiles) {
  for (const char* status : {"exited", "created", "dead"}) {
    const std::string dead = AddUsers("alice", status);
    const auto host = Start();
    const auto sandbox = host->Create("alice");
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    EXPECT_FALSE(engine_.Has(dead)) << status;
    EXPECT_EQ(engine_.Of(NameOf("alice")).volume, NameOf("alice"));
    ASSERT_TRUE(host->registry->Destroy("alice", true));
  }
}

TEST_F(RegistryTest, APausedOneIsNeitherUsedNorKilled) {
  const std::string id = AddUsers("alice", "paused");
  Write({.user = "alice", .volume = NameOf("alice"), .container = id});
  const auto host = Start();
  for (const auto& refused : {host->Create("alice"), host->registry->Attach("alice")}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, CSB_E_CONFLICT) << "no failure of the backend's";
    EXPECT_THAT(refused.error().hint, HasSubstr("docker unpause"));
  }
  EXPECT_TRUE(engine_.Has(id));
}

TEST_F(RegistryTest, AnotherHostFindsWhatOneMade) {
  auto a = Start();
  ASSERT_TRUE(a->Create("alice"));
  const std::string id = engine_.Of(NameOf("alice")).id;
  const auto b = Start();
  EXPECT_EQ(b->registry->Find("alice"), nullptr);
  const auto both = b->registry->Attach("alice");
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ((*both)->live().container, id);
  // Whoever is not needed lets go without harm; the last one ends it.
  EXPECT_EQ(*a->registry->Stop("alice", true), Registry::StopResult::kLeft);
  EXPECT_TRUE(engine_.Has(id));
  Kill(std::move(a));
  EXPECT_TRUE(engine_.Has(id));
  EXPECT_TRUE((*both)->channel());
  EXPECT_EQ(*b->registry->Stop("alice", false), Registry::StopResult::kStopped);
  EXPECT_FALSE(engine_.Has(id));
}

TEST_F(RegistryTest, ALostRecordIsWrittenAnewFromWhatLives) {
  auto a = Start();
  options_.pool_size = 1;
  auto b = Start();
  b->registry->pool().Refill();
  ASSERT_TRUE(b->Create("alice"));
  const auto container = engine_.Of(NameOf("alice"));
  Kill(std::move(b));
  ASSERT_EQ(unlink(RecordPath("alice").c_str()), 0);
  ASSERT_TRUE(a->Create("alice"));
  EXPECT_EQ(engine_.Of(NameOf("alice")).id, container.id);
  EXPECT_EQ(RecordOf("alice").volume, container.volume) << "else the next sweep takes the files for nobody's";
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
  EXPECT_THAT(refused.error().hint, HasSubstr("docker.images"));
}

TEST_F(RegistryTest, DestroyKeepsFilesUnlessTheyArePurged) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  auto kept = host->registry->Destroy("alice", false);
  ASSERT_TRUE(kept);
  EXPECT_TRUE(kept->existed && kept->files_remain);
  EXPECT_TRUE(engine_.HasVolume(NameOf("alice")));
  ASSERT_TRUE(host->Create("alice"));
  // What can't be removed is not forgotten.
  engine_.Fail("DELETE", "/volumes/", "500 Internal Server Error", "device busy");
  EXPECT_FALSE(host->registry->Destroy("alice", true));
  EXPECT_TRUE(Exists(RecordPath("alice")));
  auto purged = host->registry->Destroy("alice", true);
  ASSERT_TRUE(purged);
  EXPECT_FALSE(purged->files_remain);
  EXPECT_EQ(engine_.volumes(), 0u);
  EXPECT_FALSE(Exists(RecordPath("alice")));
  EXPECT_FALSE(host->registry->Destroy("alice", true)->existed);
}

TEST_F(RegistryTest, WhatIsPostedForALostSandboxNeedsNothingOnceItsHostEnds) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  host->host.HoldWork();
  engine_.End(engine_.Of(NameOf("alice")).id);
  EXPECT_TRUE(host->host.HoldsWork());
}

// The other host has purged, and what this one is attached to has not told yet that it ended.
TEST_F(RegistryTest, WhatAnotherHostPurgedIsLetGoOf) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  ASSERT_EQ(unlink(RecordPath("alice").c_str()), 0);
  const auto purged = host->registry->Destroy("alice", true);
  ASSERT_TRUE(purged) << purged.error().message;
  EXPECT_FALSE(purged->existed);
  EXPECT_EQ(host->registry->Find("alice"), nullptr);
}

TEST_F(RegistryTest, ARecordOfAnotherUserStopsACreate) {
  Record record{.user = "mallory", .volume = "other"};
  ASSERT_TRUE(WriteRecord(RecordPath("alice"), record));
  const auto host = Start();
  const auto refused = host->Create("alice");
  ASSERT_FALSE(refused);
  EXPECT_THAT(engine_.All(), IsEmpty());
  EXPECT_EQ(ReadRecord(RecordPath("alice"))->user, "mallory");
}

// A purge removes what the record names: it must never name somebody else's.
TEST_F(RegistryTest, AForeignVolumeOfThatNameIsNoUsers) {
  const auto host = Start();
  engine_.AddVolume(NameOf("alice"), Ours("sandbox", {{kLabelUser, "bob"}}));
  const auto made = host->Create("alice");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, CSB_E_CONFLICT);
  EXPECT_FALSE(Exists(RecordPath("alice")));
  ASSERT_TRUE(host->registry->Destroy("alice", true));
  EXPECT_TRUE(engine_.HasVolume(NameOf("alice")));
}

// A host that is attached to nothing must not stop what another one uses.
TEST_F(RegistryTest, AnIdleStopAsksWhoElseIsThere) {
  const auto first = Start();
  ASSERT_TRUE(first->Create("alice"));
  const auto second = Start();
  auto stopped = second->registry->Stop("alice", true);
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(*stopped, Registry::StopResult::kLeft);
  EXPECT_TRUE(first->registry->Find("alice")->channel());
}

}  // namespace
}  // namespace csb::docker

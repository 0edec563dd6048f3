// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/sweeper.h"

#include "plugins/common/file_lock.h"
#include "plugins/common/small_file.h"
#include "plugins/incus/fake_incus_fixture.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class SweeperTest : public FakeIncusTest {
 protected:
  void Sweep(const std::string& machine = kHere) {
    const auto host = Start(machine);
    const Status done = host->Sweep();
    EXPECT_TRUE(done) << done.error().message;
  }
  // An instance of a user's that no record names.
  std::string AddForgotten(const std::string& user, const std::string& host, const std::string& machine,
                           const std::string& status, const std::string& created = "") {
    const std::string name = InstanceOf(user, 9);
    server_.Add(FakeIncus::Instance{
        .name = name,
        .status = status,
        .config = Ours("sandbox", {{kKeyUser, user}, {kKeyHost, host}, {kKeyMachine, machine}}),
        .created = created});
    return name;
  }
  // A folder as a host makes it for an instance.
  std::string AddSlot(const std::string& instance) {
    const std::string slot(names_.SlotOf(instance));
    std::filesystem::create_directories(names_.Control(slot));
    return names_.Slot(slot);
  }
};

TEST_F(SweeperTest, AnIdleEngineIsLeftAlone) {
  Sweep();
  for (const char* method : {"DELETE", "POST", "PUT", "PATCH"}) EXPECT_EQ(server_.Count(method), 0) << method;
}

TEST_F(SweeperTest, ADeadHostsPoolIsRemovedALiveOnesAndAClaimedOneStay) {
  const auto live = Start();
  const std::string dead = AddPooled(kDeadHost, 0), half = AddPooled(kDeadHost, 1, kHere, "Stopped"),
                    claimed = AddPooled(kDeadHost, 2), mine = AddPooled(live->mark->id(), 0);
  server_.Add(FakeIncus::Volume{.name = names_.Pooled(kDeadHost, 3),
                                .config = Ours("pool", {{kKeyHost, kDeadHost}, {kKeyMachine, kHere}})});
  server_.Add(
      FakeIncus::Volume{.name = names_.Pooled(live->mark->id(), 1),
                        .config = Ours("pool", {{kKeyHost, live->mark->id()}, {kKeyMachine, kHere}})});
  Record record = NewRecord("alice");
  record.instance = record.volume = claimed;
  Write(record);
  Sweep();
  for (const std::string& name : {dead, half, names_.Pooled(kDeadHost, 3)}) {
    EXPECT_FALSE(server_.Has(name)) << name;
    EXPECT_FALSE(server_.HasVolume(name)) << name;
  }
  for (const std::string& name : {claimed, mine}) {
    EXPECT_TRUE(server_.Has(name)) << name;
    EXPECT_TRUE(server_.HasVolume(name)) << name;
  }
  EXPECT_TRUE(server_.HasVolume(names_.Pooled(live->mark->id(), 1))) << "being filled";
}

// A claimed workspace, while nothing runs, is known by its record alone.
TEST_F(SweeperTest, AClaimedWorkspaceIsKnownByItsRecord) {
  const std::string volume = names_.Pooled(kDeadHost, 7);
  server_.Add(FakeIncus::Volume{.name = volume,
                                .config = Ours("pool", {{kKeyHost, kDeadHost}, {kKeyMachine, kHere}}),
                                .created = kLongAgo});
  Record record = NewRecord("alice");
  record.volume = volume;
  Write(record);
  Sweep();
  EXPECT_TRUE(server_.HasVolume(volume));
  server_.RemoveProfile(names_.Record(KeyOf("alice")));
  Sweep();
  EXPECT_FALSE(server_.HasVolume(volume)) << "nobody's then";
}

// Whether hosts elsewhere live can't be seen.
TEST_F(SweeperTest, OfHostsElsewhereOnlyWhatHasEndedAndIsOldGoes) {
  const std::string running = AddPooled("0a0a0a0a", 0, kElsewhere, "Running", kLongAgo),
                    making = AddPooled("0a0a0a0a", 1, kElsewhere, "Stopped"),
                    old = AddPooled("0a0a0a0a", 2, kElsewhere, "Stopped", kLongAgo);
  const auto volume = [&](uint64_t n, const std::string& created) {
    server_.Add(FakeIncus::Volume{.name = names_.Pooled("0a0a0a0a", n),
                                  .config = Ours("pool", {{kKeyHost, "0a0a0a0a"}, {kKeyMachine, kElsewhere}}),
                                  .created = created});
    return names_.Pooled("0a0a0a0a", n);
  };
  const std::string new_volume = volume(3, ""), old_volume = volume(4, kLongAgo);
  const std::string forgotten = AddForgotten("alice", "0a0a0a0a", kElsewhere, "Stopped"),
                    forgotten_long = AddForgotten("bob", "0a0a0a0a", kElsewhere, "Stopped", kLongAgo),
                    runs = AddForgotten("carol", "0a0a0a0a", kElsewhere, "Running", kLongAgo);
  Sweep();
  for (const std::string& name : {running, making, forgotten, runs}) EXPECT_TRUE(server_.Has(name)) << name;
  for (const std::string& name : {old, forgotten_long}) EXPECT_FALSE(server_.Has(name)) << name;
  EXPECT_TRUE(server_.HasVolume(new_volume));
  EXPECT_FALSE(server_.HasVolume(old_volume));
}

TEST_F(SweeperTest, WhatNoRecordNamesGoesWithItsHost) {
  const auto live = Start();
  const std::string dead = AddForgotten("alice", kDeadHost, kHere, "Running"),
                    mine = AddForgotten("bob", live->mark->id(), kHere, "Running"),
                    named = AddUsers("carol", "new"), ended = AddUsers("dave", "Stopped"),
                    runs = AddUsers("eve", "Running");
  Sweep();
  EXPECT_FALSE(server_.Has(dead));
  EXPECT_TRUE(server_.Has(mine)) << "it is being made, or removed";
  EXPECT_TRUE(server_.Has(named)) << "the next create decides";
  EXPECT_TRUE(server_.Has(runs));
  // The record has moved on to the next; the files stay.
  Sweep();
  EXPECT_FALSE(server_.Has(ended));
  EXPECT_EQ(RecordOf("dave").generation, 2u);
  EXPECT_TRUE(server_.HasVolume(VolumeOf("dave")));
}

TEST_F(SweeperTest, AFillerOfToolsGoesWithItsHost) {
  const auto live = Start();
  const auto filler = [&](const std::string& host) {
    const std::string name = names_.Filler(host, 0);
    server_.Add(FakeIncus::Instance{.name = name,
                                    .config = Ours("filler", {{kKeyHost, host}, {kKeyMachine, kHere}})});
    return name;
  };
  const std::string dead = filler(kDeadHost), mine = filler(live->mark->id());
  Sweep();
  EXPECT_FALSE(server_.Has(dead));
  EXPECT_TRUE(server_.Has(mine));
}

TEST_F(SweeperTest, WhatAnotherHostOfThisMachineIsMakingIsWaitedFor) {
  const std::string name = AddForgotten("alice", kDeadHost, kHere, "Running");
  std::filesystem::create_directories(names_.locks());
  std::optional<FileLock> making;
  {
    auto lock = FileLock::Take(names_.Lock(KeyOf("alice")), {});
    ASSERT_TRUE(lock);
    making.emplace(*std::move(lock));
  }
  std::thread sweep([&] { Sweep(); });
  ASSERT_TRUE(Becomes([&] { return server_.Count("GET /1.0/profiles?") > 0; }));
  // It has seen that no record names it; now one does.
  Record record = NewRecord("alice");
  record.instance = name;
  Write(record);
  making.reset();
  sweep.join();
  EXPECT_TRUE(server_.Has(name));
}

TEST_F(SweeperTest, AClaimBetweenTheListsIsSeen) {
  const std::string pooled = AddPooled("0a0a0a0a", 0, kElsewhere, "Stopped", kLongAgo);
  server_.Before("GET", "/1.0/profiles?", [&] {
    server_.Before("GET", "/1.0/profiles?", [&] {
      Record record = NewRecord("alice");
      record.instance = record.volume = pooled;
      Write(record);
    });
  });
  Sweep();
  EXPECT_TRUE(server_.Has(pooled));
  EXPECT_TRUE(server_.HasVolume(pooled));
}

TEST_F(SweeperTest, FilesWithoutARecordAreAdopted) {
  AddVolume("al\"ice é");
  server_.Add(FakeIncus::Volume{.name = names_.prefix() + "imposter",
                                .config = Ours("workspace", {{kKeyUser, "bob"}})});
  server_.Add(
      FakeIncus::Volume{.name = VolumeOf("x"), .config = Ours("workspace", {{kKeyUser, "not\nan id"}})});
  server_.Add(FakeIncus::Volume{
      .name = VolumeOf("carol"), .config = Ours("workspace", {{kKeyUser, "carol"}}), .location = "m2"});
  const auto host = Start();
  ASSERT_TRUE(host->Sweep());
  const Record record = RecordOf("al\"ice é");
  EXPECT_EQ(record.volume, VolumeOf("al\"ice é"));
  EXPECT_EQ(record.pool, "default");
  EXPECT_EQ(record.member, "");
  EXPECT_EQ(RecordOf("carol").member, "m2");
  EXPECT_EQ(server_.profiles(), 2u);
  EXPECT_FALSE(HasRecord("bob")) << "a volume's name has to be its user's";
  EXPECT_TRUE(server_.HasVolume(names_.prefix() + "imposter"));
  // The files are there again.
  const auto sandbox = host->Create("al\"ice é");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ(server_.Of(InstanceOf("al\"ice é")).devices["ws"]["source"], record.volume);
}

TEST_F(SweeperTest, APurgeBetweenTheListsIsNotUndone) {
  AddVolume("alice");
  server_.Before("GET", "/1.0/profiles?", [&] { server_.RemoveVolume(VolumeOf("alice")); });
  Sweep();
  EXPECT_FALSE(HasRecord("alice")) << "of files that are gone";
}

TEST_F(SweeperTest, WhatMayBeSomebodysIsKept) {
  const std::string pooled = AddPooled(kDeadHost, 0),
                    forgotten = AddForgotten("alice", kDeadHost, kHere, "Stopped");
  server_.Add(FakeIncus::Volume{.name = names_.Pooled(kDeadHost, 7),
                                .config = Ours("pool", {{kKeyHost, kDeadHost}, {kKeyMachine, kHere}})});
  const std::string record = names_.Record(KeyOf("bob"));
  for (const Config& config :
       {Config{}, Config{{kKeyUser, "bob"}}, ConfigOf(NewRecord("mallory"), kInstallation)}) {
    server_.Add(ProfileInfo{record, config, "", {}});
    const auto host = Start();
    ASSERT_TRUE(host->Sweep());
    EXPECT_TRUE(server_.Has(pooled)) << "bob's, as far as anybody knows";
    EXPECT_TRUE(server_.Has(forgotten));
    EXPECT_TRUE(server_.HasVolume(names_.Pooled(kDeadHost, 7)));
    EXPECT_TRUE(host->host.Logged("not all records"));
  }
  EXPECT_EQ(server_.Count("DELETE"), 0);
  server_.RemoveProfile(record);
  Sweep();
  EXPECT_FALSE(server_.Has(pooled));
  EXPECT_FALSE(server_.Has(forgotten));
}

// The cluster says so of what is on a member that does not answer.
TEST_F(SweeperTest, AMemberThatIsDownLosesNothing) {
  const std::string pooled = AddPooled(kDeadHost, 0, kHere, "Error", kLongAgo),
                    elsewhere = AddPooled("0a0a0a0a", 0, kElsewhere, "Error", kLongAgo),
                    forgotten = AddForgotten("alice", kDeadHost, kHere, "Error", kLongAgo),
                    named = AddUsers("bob", "Error");
  Sweep();
  Sweep(kElsewhere);
  for (const std::string& name : {pooled, elsewhere, forgotten, named})
    EXPECT_TRUE(server_.Has(name)) << name;
  EXPECT_EQ(server_.Count("DELETE"), 0);
  EXPECT_EQ(server_.Count("PUT"), 0);
}

TEST_F(SweeperTest, OthersThingsAreUntouched) {
  const Config other = {{kKeyInstallation, "fedcba9876543210"},
                        {kKeyKind, "pool"},
                        {kKeyHost, kDeadHost},
                        {kKeyMachine, kHere}};
  server_.Add(FakeIncus::Instance{.name = "clara-fedcba98-pool-deadbeef-0", .config = other});
  server_.Add(FakeIncus::Instance{.name = "postgres"});
  server_.Add(FakeIncus::Instance{.name = InstanceOf("alice", 1)});  // our name, nobody's key
  server_.Add(FakeIncus::Instance{.name = "mine",
                                  .config = Ours("pool", {{kKeyHost, kDeadHost}, {kKeyMachine, kHere}})});
  server_.Add(FakeIncus::Volume{.name = "clara-fedcba98-v", .config = other});
  server_.Add(FakeIncus::Volume{.name = names_.Pooled(kDeadHost, 1)});
  server_.Add(FakeIncus::Volume{.name = "data"});
  Sweep();
  EXPECT_THAT(server_.Instances(), SizeIs(4));
  EXPECT_EQ(server_.volumes(), 3u);
  EXPECT_EQ(server_.profiles(), 0u);
}

TEST_F(SweeperTest, OnlyFoldersOfWhatIsGoneGo) {
  const auto live = Start();
  const std::string kept = AddSlot(AddUsers("alice", "Running")), gone = AddSlot(InstanceOf("bob", 3)),
                    dead = AddSlot(names_.Pooled(kDeadHost, 0)),
                    making = AddSlot(names_.Pooled(live->mark->id(), 0));
  WriteText(folder_ / "precious", "keep");
  Sweep();
  EXPECT_TRUE(Exists(kept));
  EXPECT_FALSE(Exists(gone));
  EXPECT_FALSE(Exists(dead));
  EXPECT_TRUE(Exists(making)) << "its instance is about to be made";
  // An engine that can't say whether it is gone says nothing.
  const std::string unknown = AddSlot(InstanceOf("bob", 4));
  server_.Fail("GET", "/1.0/instances/" + InstanceOf("bob", 4), 500, "out of luck");
  Sweep();
  EXPECT_TRUE(Exists(unknown));
  Sweep();
  EXPECT_FALSE(Exists(unknown));
}

TEST_F(SweeperTest, AnEngineThatDoesNotAnswerChangesNothing) {
  AddPooled(kDeadHost, 0);
  AddUsers("alice", "Running");
  for (const char* list : {"/1.0/instances?", "/volumes/custom?", "/1.0/profiles?", "/1.0/storage-pools"}) {
    const auto host = Start();
    server_.Fail("GET", list, 500, "out of luck");
    const Status done = host->Sweep();
    ASSERT_FALSE(done) << list;
    EXPECT_THAT(done.error().message, HasSubstr("out of luck"));
  }
  // Between the list and the end of it: nobody's is only what is known to be.
  server_.Before("GET", "/1.0/profiles?", [&] { server_.Fail("GET", "/1.0/profiles?", 500, "out of luck"); });
  Sweep();
  EXPECT_TRUE(server_.Has(names_.Pooled(kDeadHost, 0)));
  EXPECT_EQ(server_.Count("DELETE"), 0);
  EXPECT_EQ(server_.Count("PUT"), 0);
}

}  // namespace
}  // namespace csb::incus

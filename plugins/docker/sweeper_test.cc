// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/sweeper.h"

#include <sys/wait.h>

#include "plugins/common/file_lock.h"
#include "plugins/docker/fake_engine_fixture.h"

namespace csb::docker {
namespace {

using ::testing::HasSubstr;

class SweeperTest : public FakeEngineTest {
 protected:
  static constexpr char kDeadHost[] = "deadbeef";

  void Sweep() {
    const auto host = Start();
    const Status done = host->Sweep();
    EXPECT_TRUE(done) << done.error().message;
  }
  // A slot's folder as a host makes it.
  void AddSlot(const std::string& slot) { std::filesystem::create_directories(names_.Control(slot)); }
};

TEST_F(SweeperTest, AnIdleEngineIsLeftAlone) {
  Sweep();
  EXPECT_EQ(engine_.Count("DELETE"), 0);
  EXPECT_EQ(engine_.Count("POST"), 0);
}

TEST_F(SweeperTest, ADeadHostsPoolIsRemovedALiveOnesStays) {
  const auto live = Start();
  const std::string dead = AddPooled(kDeadHost, 0), half = AddPooled(kDeadHost, 1, "created"),
                    mine = AddPooled(live->mark->id(), 0);
  engine_.AddVolume(names_.Pooled(kDeadHost, 2), Ours("pool", {{kLabelHost, kDeadHost}}));
  engine_.AddVolume(names_.Pooled(live->mark->id(), 1), Ours("pool", {{kLabelHost, live->mark->id()}}));
  AddSlot("pool-deadbeef-0");
  AddSlot("pool-" + live->mark->id() + "-0");
  Sweep();
  EXPECT_FALSE(engine_.Has(dead));
  EXPECT_FALSE(engine_.Has(half));
  for (int i = 0; i < 3; ++i)
    EXPECT_FALSE(engine_.HasVolume(names_.Pooled(kDeadHost, static_cast<uint64_t>(i)))) << i;
  EXPECT_FALSE(Exists(names_.Slot("pool-deadbeef-0")));
  EXPECT_TRUE(engine_.Has(mine));
  for (int i = 0; i < 2; ++i)
    EXPECT_TRUE(engine_.HasVolume(names_.Pooled(live->mark->id(), static_cast<uint64_t>(i))))
        << "being filled";
  EXPECT_TRUE(Exists(names_.Slot("pool-" + live->mark->id() + "-0")));
}

TEST_F(SweeperTest, DeadContainersGoFilesStay) {
  for (const char* status : {"created", "exited", "dead"}) {
    const std::string id = AddUsers("alice", status);
    AddSlot(KeyOf("alice"));
    Sweep();
    EXPECT_FALSE(engine_.Has(id)) << status;
    EXPECT_TRUE(engine_.HasVolume(NameOf("alice"))) << status;
    EXPECT_FALSE(Exists(names_.Slot(KeyOf("alice")))) << status;
  }
  for (const char* status : {"running", "paused", "restarting"}) {
    const std::string user = std::string("user-") + status, id = AddUsers(user, status);
    AddSlot(KeyOf(user));
    Sweep();
    EXPECT_TRUE(engine_.Has(id)) << status;
    EXPECT_TRUE(Exists(names_.Slot(KeyOf(user)))) << status;
  }
}

TEST_F(SweeperTest, WhatAnotherHostIsMakingIsWaitedFor) {
  const std::string id = AddUsers("alice", "created"), name = KeyOf("alice");
  std::filesystem::create_directories(names_.locks());
  std::optional<FileLock> making;
  {
    auto lock = FileLock::Take(names_.Lock(name), {});
    ASSERT_TRUE(lock);
    making.emplace(*std::move(lock));
  }
  std::thread sweep([&] { Sweep(); });
  ASSERT_TRUE(Becomes([&] { return engine_.Count("GET /volumes?") > 0; }));
  // It has seen "created"; now the other host starts it and lets go.
  engine_.Add(
      {.id = id, .name = NameOf("alice"), .labels = engine_.Of(id).labels, .volume = NameOf("alice")});
  making.reset();
  sweep.join();
  EXPECT_TRUE(engine_.Has(id));
}

TEST_F(SweeperTest, ARecordOfNothingGoes) {
  Write({.user = "alice", .volume = NameOf("alice")});  // killed before there was a volume
  Write({.user = "bob", .volume = NameOf("bob")});
  engine_.AddVolume(NameOf("bob"), Ours("sandbox", {{kLabelUser, "bob"}}));
  WriteText(RecordPath("carol"), "");  // a power cut
  WriteText(RecordPath("alice") + ".a1b2c3", "{\"user\":\"ali");
  WriteText(RecordPath("dave") + ".a1b2c3", "");
  Sweep();
  EXPECT_FALSE(Exists(RecordPath("alice")));
  EXPECT_FALSE(Exists(RecordPath("alice") + ".a1b2c3"));
  EXPECT_FALSE(Exists(RecordPath("dave") + ".a1b2c3"));
  EXPECT_TRUE(Exists(RecordPath("bob"))) << "it says where files are";
}

// The engine's disk may not be mounted today, or it may be another engine: the files are somewhere.
TEST_F(SweeperTest, ARecordOfFilesThatAreNotThereTodayStays) {
  Write({"alice", NameOf("alice"), "", "0123abcd", "2026-01-01T00:00:00.000Z", "image", {}});
  Write({"bob", names_.Pooled("deadbeef", 1), "", "4567cdef", "2026-01-01T00:00:00.000Z", "image", {}});
  Sweep();
  EXPECT_EQ(RecordOf("alice").user, "alice");
  EXPECT_EQ(RecordOf("bob").user, "bob");
  engine_.AddVolume(names_.Pooled("deadbeef", 1), Ours("pool", {{kLabelHost, "deadbeef"}}));
  Sweep();
  EXPECT_TRUE(engine_.HasVolume(names_.Pooled("deadbeef", 1)));
}

// What a power cut leaves of a record is no record.
TEST_F(SweeperTest, AnEmptyRecordIsWrittenAnewFromTheLabel) {
  AddUsers("alice", "exited");
  WriteText(RecordPath("alice"), "");
  Sweep();
  EXPECT_EQ(RecordOf("alice").volume, NameOf("alice"));
}

TEST_F(SweeperTest, FilesWithoutARecordAreAdopted) {
  AddUsers("al\"ice é", "exited");
  engine_.AddVolume("clara-01234567-imposter", Ours("sandbox", {{kLabelUser, "bob"}}));
  engine_.AddVolume(NameOf("x"), Ours("sandbox", {{kLabelUser, "not\nan id"}}));
  const auto host = Start();
  ASSERT_TRUE(host->Sweep());
  EXPECT_EQ(RecordOf("al\"ice é").volume, NameOf("al\"ice é"));
  EXPECT_EQ(host->registry->Records().size(), 1u);
  EXPECT_FALSE(Exists(RecordPath("bob"))) << "a volume's name has to be its user's";
  EXPECT_TRUE(engine_.HasVolume("clara-01234567-imposter"));
}

TEST_F(SweeperTest, OthersThingsAreUntouched) {
  Labels other = {{kLabelInstallation, "fedcba9876543210"}, {kLabelKind, "pool"}, {kLabelHost, kDeadHost}};
  engine_.Add({.name = "clara-fedcba98-pool-deadbeef-0", .status = "exited", .labels = other, .volume = "v"});
  engine_.Add({.name = "postgres", .status = "exited"});
  engine_.Add({.name = NameOf("alice"), .status = "exited"});  // our name, nobody's label
  engine_.AddVolume("v", other);
  engine_.AddVolume("data", {});
  Sweep();
  EXPECT_EQ(engine_.All().size(), 3u);
  EXPECT_EQ(engine_.volumes(), 2u);
}

TEST_F(SweeperTest, AClaimedWorkspaceIsKnownByItsRecord) {
  const std::string volume = names_.Pooled(kDeadHost, 7);
  engine_.AddVolume(volume, Ours("pool", {{kLabelHost, kDeadHost}}));
  Write({.user = "alice", .volume = volume, .container = "c0"});
  Sweep();
  EXPECT_TRUE(engine_.HasVolume(volume));
  EXPECT_EQ(RecordOf("alice").volume, volume);
}

TEST_F(SweeperTest, WhatMayBeSomebodysIsKept) {
  const std::string volume = names_.Pooled(kDeadHost, 7);
  engine_.AddVolume(volume, Ours("pool", {{kLabelHost, kDeadHost}}));
  WriteText(RecordPath("alice"), "\xFF damaged");
  const auto host = Start();
  ASSERT_TRUE(host->Sweep());
  EXPECT_TRUE(engine_.HasVolume(volume)) << "alice's files, as far as anybody knows";
  EXPECT_TRUE(host->host.Logged("records"));
  // A folder that can't be read is no empty one.
  ASSERT_EQ(unlink(RecordPath("alice").c_str()), 0);
  std::filesystem::remove_all(names_.records());
  WriteText(names_.records(), "a file in its place");
  ASSERT_TRUE(host->Sweep());
  EXPECT_TRUE(engine_.HasVolume(volume));
  std::filesystem::remove(names_.records());
  ASSERT_TRUE(host->Sweep());
  EXPECT_FALSE(engine_.HasVolume(volume)) << "no records at all: nobody's";
}

TEST_F(SweeperTest, NoUsersNameLooksLikeADeadHosts) {
  for (const char* user : {"pool", "pool deadbeef 1", "probe", "agent"}) {
    const std::string id = AddUsers(user, "running");
    AddSlot(KeyOf(user));
    Write({.user = user, .volume = NameOf(user), .container = id});
    Sweep();
    EXPECT_TRUE(engine_.Has(id)) << user;
    EXPECT_TRUE(engine_.HasVolume(NameOf(user))) << user;
    EXPECT_EQ(RecordOf(user).container, id) << user;
    EXPECT_TRUE(Exists(names_.Slot(KeyOf(user)))) << user;
  }
}

TEST_F(SweeperTest, HelpersOfDeadHostsGo) {
  auto living = HostMark::Make(names_.hosts());
  ASSERT_TRUE(living);
  const std::string gone = "deadbeef", here = living->id();
  const auto helper = [&](const char* kind, const std::string& name, const std::string& host) {
    const std::string slot = kind == std::string("agent") ? "agent-0011223344556677" : name;
    return engine_.Add({.name = names_.prefix() + name,
                        .status = "created",
                        .labels = Ours(kind, {{kLabelSlot, slot}, {kLabelHost, host}})});
  };
  const std::string probe = helper("probe", "probe-" + gone + "-123", gone),
                    agent = helper("agent", "agent-0011223344556677-" + gone, gone),
                    live_probe = helper("probe", "probe-" + here + "-123", here),
                    live_agent = helper("agent", "agent-0011223344556677-" + here, here);
  AddSlot("probe-" + gone + "-123");
  AddSlot("probe-" + here + "-123");
  engine_.AddVolume(names_.prefix() + "agent-8899aabbccddeeff", Ours("agent"));
  Sweep();
  EXPECT_FALSE(engine_.Has(probe));
  EXPECT_FALSE(engine_.Has(agent));
  EXPECT_FALSE(Exists(names_.Slot("probe-" + gone + "-123")));
  EXPECT_TRUE(engine_.Has(live_probe));
  EXPECT_TRUE(engine_.Has(live_agent));
  EXPECT_TRUE(Exists(names_.Slot("probe-" + here + "-123")));
  EXPECT_FALSE(engine_.HasVolume(names_.prefix() + "agent-8899aabbccddeeff"))
      << "an older agent, mounted nowhere";
}

// Labels are written by whoever may use the engine; none of them leads out of our folder.
TEST_F(SweeperTest, ALabelIsNoPath) {
  WriteText(folder_ / "precious/file", "keep");
  for (const char* slot : {"../precious", "..", ".", "", "/", "a/../../precious"}) {
    Labels labels = Ours("sandbox", {{kLabelUser, "alice"}, {kLabelSlot, slot}});
    engine_.Add({.name = NameOf("alice"), .status = "exited", .labels = labels});
    Sweep();
    EXPECT_TRUE(Exists(folder_ / "precious/file")) << slot;
    EXPECT_TRUE(Exists(names_.hosts())) << slot;
  }
}

TEST_F(SweeperTest, WorkspacesInFoldersAreTreatedAlike) {
  names_ = Names(folder_ / "state", folder_ / "run", folder_ / "data", kInstallation);
  options_.data_dir = folder_ / "data";
  const std::string pool = KeyOf("pool");
  for (const std::string& slot : {std::string("pool-deadbeef-0"), std::string("pool-deadbeef-1"), pool})
    WriteText(names_.Folder(slot) + "/file", "text");
  Write({.user = "alice", .folder = names_.Folder("pool-deadbeef-1")});
  Write({.user = "bob", .folder = names_.Folder("never-made")});
  Sweep();
  EXPECT_FALSE(Exists(names_.Folder("pool-deadbeef-0")));
  EXPECT_TRUE(Exists(names_.Folder("pool-deadbeef-1") + "/file"));
  EXPECT_TRUE(Exists(names_.Folder(pool) + "/file")) << "of a user who is called pool";
  EXPECT_TRUE(Exists(RecordPath("alice")));
  EXPECT_FALSE(Exists(RecordPath("bob")));
}

TEST_F(SweeperTest, AnEngineThatDoesNotAnswerChangesNothing) {
  const std::string volume = names_.Pooled(kDeadHost, 7);
  engine_.AddVolume(volume, Ours("pool", {{kLabelHost, kDeadHost}}));
  Write({.user = "alice", .volume = volume});
  for (const char* list : {"/containers/json", "/volumes"}) {
    const auto host = Start();
    engine_.Fail("GET", list, "500 Internal Server Error", "out of luck");
    const Status done = host->Sweep();
    ASSERT_FALSE(done) << list;
    EXPECT_THAT(done.error().message, HasSubstr("out of luck"));
  }
  EXPECT_EQ(engine_.Count("DELETE"), 0);
  EXPECT_TRUE(Exists(RecordPath("alice")));
  // Nor does one that fails in the middle: what it does not deny may be there.
  Write({.user = "bob", .volume = NameOf("bob")});
  engine_.Fail("GET", "/volumes/" + NameOf("bob"), "500 Internal Server Error", "out of luck");
  Sweep();
  EXPECT_TRUE(Exists(RecordPath("bob")));
  engine_.Fail("GET", "/containers/" + NameOf("bob"), "500 Internal Server Error", "out of luck");
  Sweep();
  EXPECT_TRUE(Exists(RecordPath("bob")));
  Sweep();
  EXPECT_FALSE(Exists(RecordPath("bob")));
}

}  // namespace
}  // namespace csb::docker

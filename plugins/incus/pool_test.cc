// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/pool.h"

#include <barrier>
#include <set>

#include "plugins/incus/fake_incus_fixture.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PoolTest : public FakeIncusTest {
 protected:
  PoolTest() { options_.pool_size = 1; }
  HostPtr StartFilled() {
    auto host = Start();
    host->registry->pool().Refill();
    EXPECT_EQ(host->registry->pool().size(), static_cast<size_t>(options_.pool_size));
    return host;
  }
  HostPtr StartWithoutPool(const std::string& machine = kElsewhere) {
    auto host = Start(machine);
    host->options.pool_size = 0;
    return host;
  }
  // The name of the only pooled instance, and of its volume; "" when there is none.
  std::string Ready() {
    for (const auto& instance : server_.Instances())
      if (names_.IsPooled(instance.name)) return instance.name;
    return {};
  }
};

TEST_F(PoolTest, AClaimIsARecord) {
  const auto host = StartFilled();
  const std::string ready = Ready();
  EXPECT_EQ(server_.Of(ready).config[kKeyHost], host->mark->id());
  EXPECT_EQ(server_.Of(ready).config[kKeyUser], "");
  EXPECT_EQ(server_.VolumeOf(ready).config[kKeyKind], "pool");
  const size_t made = server_.made();
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().name, ready);
  EXPECT_EQ((*sandbox)->live().user, "alice");
  EXPECT_EQ(RecordOf("alice").instance, ready);
  EXPECT_EQ(RecordOf("alice").volume, ready);
  EXPECT_EQ(host->registry->Find("alice"), *sandbox);
  // People who look at the engine see whose it is; and the next one is made.
  EXPECT_TRUE(Becomes([&] { return server_.Of(ready).config[kKeyUser] == "alice"; }));
  EXPECT_TRUE(Becomes([&] { return host->registry->pool().size() == 1; }));
  EXPECT_EQ(server_.made(), made + 1);
}

TEST_F(PoolTest, OnlyWhatFitsIsGivenOut) {
  const auto host = StartFilled();
  const std::string ready = Ready();
  const auto sandbox = host->Create("alice", R"({"memory_limit":"32m"})");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_NE((*sandbox)->live().name, ready);
  EXPECT_TRUE(server_.Has(ready));
}

TEST_F(PoolTest, AReturningUserGetsTheOldFilesAndThePoolKeepsItsOwn) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  const std::string volume = RecordOf("alice").volume;
  ASSERT_TRUE(host->registry->Destroy("alice", false));
  host->registry->pool().Refill();
  const std::string ready = Ready();
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ(server_.Of(InstanceOf("alice")).devices["ws"]["source"], volume);
  EXPECT_EQ(host->registry->pool().size(), 1u);
  // What was taken back is as good as before.
  const auto bob = host->Create("bob");
  ASSERT_TRUE(bob) << bob.error().message;
  EXPECT_EQ((*bob)->live().name, ready);
}

TEST_F(PoolTest, AClaimLosesAgainstAnotherHostsRecord) {
  const auto other = StartWithoutPool();
  const auto host = StartFilled();
  const std::string ready = Ready();
  server_.Before("POST", "/1.0/profiles?", [&] {
    const auto first = other->Create("alice");
    EXPECT_TRUE(first) << first.error().message;
  });
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().name, other->registry->Find("alice")->live().name);
  EXPECT_EQ(RecordOf("alice").instance, (*sandbox)->live().name);
  EXPECT_EQ(host->registry->pool().size(), 1u) << "put back";
  const auto bob = host->Create("bob");
  ASSERT_TRUE(bob) << bob.error().message;
  EXPECT_EQ((*bob)->live().name, ready);
}

TEST_F(PoolTest, AClaimThatFailsLeavesNothing) {
  const auto host = StartFilled();
  const std::string ready = Ready();
  server_.Fail("POST", "/1.0/profiles?", 500, "out of luck");
  const auto refused = host->Create("alice");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("out of luck"));
  EXPECT_FALSE(HasRecord("alice"));
  EXPECT_FALSE(server_.Has(ready)) << "a claim that may come true later must not find it";
  EXPECT_FALSE(server_.HasVolume(ready));
  EXPECT_TRUE(host->Create("alice"));
}

// The record is written, but the answer was lost, and then nothing is answered for a while.
TEST_F(PoolTest, AClaimWhoseAnswerWasLostIsFoundAgain) {
  for (const bool asked_in_vain : {false, true}) {
    auto host = StartFilled();
    const std::string ready = Ready();
    server_.Fail("POST", "/1.0/profiles?", 500, "cut off", 1, true);
    if (asked_in_vain) server_.Fail("GET", "/1.0/profiles/", 500, "cut off");
    ASSERT_FALSE(host->Create("alice"));
    EXPECT_EQ(RecordOf("alice").volume, ready) << "it says whose it is";
    const auto again = host->Create("alice");
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ((*again)->live().name, ready);
    // Its host dies, it ends: the files are still the user's.
    Kill(std::move(host));
    server_.End(ready);
    const auto next = Start();
    ASSERT_TRUE(next->Sweep());
    EXPECT_TRUE(server_.HasVolume(ready));
    ASSERT_TRUE(next->Create("alice"));
    EXPECT_EQ(server_.Of(InstanceOf("alice")).devices["ws"]["source"], ready);
    ASSERT_TRUE(next->registry->Destroy("alice", true));
  }
}

TEST_F(PoolTest, AClaimThatNobodyKnowsOfIsNobodys) {
  auto host = StartFilled();
  const std::string ready = Ready();
  server_.Fail("POST", "/1.0/profiles?", 500, "cut off");
  server_.Fail("GET", "/1.0/profiles/", 500, "cut off");
  ASSERT_FALSE(host->Create("alice"));
  for (const char* user : {"alice", "bob"}) {
    const auto sandbox = host->Create(user);
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    EXPECT_NE((*sandbox)->live().name, ready) << "it might be alice's";
  }
  Kill(std::move(host));
  ASSERT_TRUE(Start()->Sweep());
  EXPECT_FALSE(server_.Has(ready));
  EXPECT_FALSE(server_.HasVolume(ready));
  for (const char* user : {"alice", "bob"}) EXPECT_TRUE(server_.Has(InstanceOf(user))) << user;
}

TEST_F(PoolTest, AClaimThatFailedBesideAnotherHostsRecordIsNotLeft) {
  const auto host = StartFilled();
  const std::string ready = Ready();
  server_.Fail("POST", "/1.0/profiles?", 500, "cut off");
  server_.Before("GET", "/1.0/profiles/", [&] { AddUsers("alice", "Running"); });
  ASSERT_FALSE(host->Create("alice"));
  EXPECT_FALSE(server_.Has(ready));
  EXPECT_EQ(RecordOf("alice").instance, InstanceOf("alice", 1));
  EXPECT_EQ(server_.Of(InstanceOf("alice", 1)).status, "Running");
}

TEST_F(PoolTest, AClaimOutlivesItsHost) {
  for (const char* user : {"alice", "pool", "pool-1-2", "filler"}) {
    auto host = StartFilled();
    const std::string ready = Ready();
    ASSERT_TRUE(host->Create(user));
    Kill(std::move(host));
    auto next = StartWithoutPool(kHere);
    ASSERT_TRUE(next->Sweep());
    const auto sandbox = next->registry->Attach(user);
    ASSERT_TRUE(sandbox) << user << ": " << sandbox.error().message;
    EXPECT_EQ((*sandbox)->live().name, ready) << user;
    ASSERT_TRUE(next->registry->Destroy(user, false));
    ASSERT_TRUE(next->Sweep());
    EXPECT_TRUE(server_.HasVolume(ready)) << user;
    ASSERT_TRUE(next->Create(user));
    EXPECT_EQ(server_.Of(InstanceOf(user)).devices["ws"]["source"], ready) << user;
    ASSERT_TRUE(next->registry->Destroy(user, true));
    EXPECT_FALSE(server_.HasVolume(ready)) << user;
  }
}

TEST_F(PoolTest, ManyUsersAtOnceNeverShare) {
  constexpr int kUsers = 8;
  options_.pool_size = 4;
  const auto host = StartFilled();
  std::barrier start(kUsers);
  std::vector<std::thread> users;
  for (int i = 0; i < kUsers; ++i)
    users.emplace_back([&, i] {
      start.arrive_and_wait();
      const auto sandbox = host->Create("user-" + std::to_string(i));
      EXPECT_TRUE(sandbox) << sandbox.error().message;
    });
  for (std::thread& user : users) user.join();
  std::set<std::string> volumes, instances;
  for (int i = 0; i < kUsers; ++i) {
    const Record record = RecordOf("user-" + std::to_string(i));
    volumes.insert(record.volume);
    instances.insert(record.instance);
    EXPECT_EQ(server_.Of(record.instance).devices["ws"]["source"], record.volume);
  }
  EXPECT_THAT(volumes, SizeIs(kUsers));
  EXPECT_THAT(instances, SizeIs(kUsers));
}

TEST_F(PoolTest, IsBoundedByTheNumberOfSandboxes) {
  options_.pool_size = 5;
  options_.max_instances = 3;
  const auto host = Start();
  host->registry->pool().Refill();
  EXPECT_EQ(host->registry->pool().size(), 3u);
  // A user who can't take one of them gets the place of one.
  ASSERT_TRUE(host->Create("alice", R"({"memory_limit":"32m"})"));
  EXPECT_EQ(host->registry->pool().size(), 2u);
  EXPECT_THAT(server_.Instances(), SizeIs(3));
}

TEST_F(PoolTest, AnEngineThatDoesNotCountGetsNoMore) {
  const auto host = Start();
  server_.Fail("GET", "/1.0/instances?", 500, "out of luck");
  host->registry->pool().Refill();
  EXPECT_EQ(host->registry->pool().size(), 0u);
  EXPECT_EQ(server_.made(), 0u);
}

TEST_F(PoolTest, AnotherImageReplacesWhatIsReady) {
  const auto host = StartFilled();
  const std::string ready = Ready();
  host->registry->pool().Check();
  EXPECT_TRUE(server_.Has(ready));
  server_.SetImages({{.fingerprint = "ffffffffffffffff", .alias = "test"}});
  host->registry->pool().Check();
  EXPECT_FALSE(server_.Has(ready));
  EXPECT_FALSE(server_.HasVolume(ready));
  EXPECT_EQ(host->registry->pool().size(), 1u);
}

TEST_F(PoolTest, OneThatEndedIsReplacedAndNeverGivenOut) {
  const auto host = StartFilled();
  const std::string ready = Ready();
  server_.End(ready);
  EXPECT_TRUE(Becomes([&] { return !server_.Has(ready) && !server_.HasVolume(ready); }));
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_NE((*sandbox)->live().name, ready);
  EXPECT_TRUE((*sandbox)->channel());
}

TEST_F(PoolTest, WhatCantBeMadeLeavesNothing) {
  const auto host = Start();
  for (int turn = 0; turn < 2; ++turn) {
    turn == 0 ? server_.FailStarts(1) : server_.Mute(true);
    host->registry->pool().Refill();
    EXPECT_EQ(host->registry->pool().size(), 0u);
    EXPECT_THAT(server_.Instances(), IsEmpty());
    EXPECT_EQ(server_.volumes(), 0u);
    EXPECT_TRUE(host->host.Logged("can't be filled"));
  }
  EXPECT_EQ(server_.made(), 2u) << "one for each refill: it does not go on and on";
  server_.Mute(false);
  host->registry->pool().Refill();
  EXPECT_EQ(host->registry->pool().size(), 1u);
}

TEST_F(PoolTest, GoesWithItsHost) {
  options_.pool_size = 3;
  auto host = StartFilled();
  host.reset();
  EXPECT_THAT(server_.Instances(), IsEmpty());
  EXPECT_EQ(server_.volumes(), 0u);
}

}  // namespace
}  // namespace csb::incus

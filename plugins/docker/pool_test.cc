// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/pool.h"

#include <barrier>

#include "plugins/docker/fake_engine_fixture.h"

namespace csb::docker {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PoolTest : public FakeEngineTest {
 protected:
  PoolTest() { options_.pool_size = 1; }
  HostPtr StartFilled() {
    auto host = Start();
    host->registry->pool().Refill();
    EXPECT_EQ(host->registry->pool().size(), static_cast<size_t>(options_.pool_size));
    return host;
  }
  HostPtr StartFilledWith(int64_t count) {
    auto host = Start();
    const int64_t wanted = std::exchange(host->options.pool_size, count);
    host->registry->pool().Refill();
    host->options.pool_size = wanted;
    return host;
  }
  // The only pooled container.
  FakeEngine::Container Ready() {
    for (const auto& c : engine_.All())
      if (names_.IsPooled(c.name)) return c;
    return {};
  }
};

TEST_F(PoolTest, AClaimIsARename) {
  const auto host = StartFilled();
  const auto ready = Ready();
  const int made = engine_.Count("POST /containers/create");
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().container, ready.id);
  EXPECT_EQ((*sandbox)->live().user, "alice");
  EXPECT_EQ(engine_.Of(ready.id).name, NameOf("alice"));
  EXPECT_EQ(RecordOf("alice").volume, ready.volume);
  EXPECT_EQ(RecordOf("alice").container, ready.id);
  // The next one is made meanwhile.
  EXPECT_TRUE(Becomes([&] { return host->registry->pool().size() == 1; }));
  EXPECT_EQ(engine_.Count("POST /containers/create"), made + 1);
}

TEST_F(PoolTest, OnlyWhatFitsIsGivenOut) {
  const auto host = StartFilled();
  const auto ready = Ready();
  const auto sandbox = host->Create("alice", R"({"memory_limit":"32m"})");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_NE((*sandbox)->live().container, ready.id);
  EXPECT_TRUE(engine_.Has(ready.name));
}

TEST_F(PoolTest, AReturningUserGetsTheOldFiles) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  const std::string volume = RecordOf("alice").volume;
  ASSERT_TRUE(host->registry->Destroy("alice", false));
  host->registry->pool().Refill();
  ASSERT_TRUE(host->Create("alice"));
  EXPECT_EQ(engine_.Of(NameOf("alice")).volume, volume);
}

TEST_F(PoolTest, AFolderThatWasPutThereForAUserIsTheUsers) {
  names_ = Names(folder_ / "state", folder_ / "run", folder_ / "data", kInstallation);
  const std::string folder = names_.Folder(KeyOf("alice"));
  std::filesystem::create_directories(folder);
  const auto host = StartFilled();
  ASSERT_TRUE(host->Create("alice"));
  EXPECT_EQ(RecordOf("alice").folder, folder);
  host->registry->pool().Refill();
  ASSERT_TRUE(host->Create("bob"));  // who has none gets one of the pool's
  EXPECT_NE(RecordOf("bob").folder, names_.Folder(KeyOf("bob")));
}

TEST_F(PoolTest, ARenameOfWhatIsGoneGoesOnWithAFreshOne) {
  const auto host = StartFilled();
  const auto ready = Ready();
  engine_.Fail("POST", "/rename", "404 Not Found", "No such container");
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_NE((*sandbox)->live().container, ready.id);
  EXPECT_NE(RecordOf("alice").volume, ready.volume);
  EXPECT_FALSE(engine_.Has(ready.id));
  EXPECT_FALSE(engine_.HasVolume(ready.volume));
}

TEST_F(PoolTest, ARenameThatFailsLeavesNothingOfTheClaim) {
  const auto host = StartFilled();
  const auto ready = Ready();
  engine_.Fail("POST", "/rename", "500 Internal Server Error", "out of luck");
  const auto refused = host->Create("alice");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("out of luck"));
  EXPECT_FALSE(Exists(RecordPath("alice")));
  EXPECT_FALSE(engine_.Has(ready.id));
  EXPECT_FALSE(engine_.HasVolume(ready.volume));
  EXPECT_TRUE(host->Create("alice"));
}

// The engine did rename, but its answer was lost, and then it answers nothing for a while.
TEST_F(PoolTest, AClaimWhoseAnswerWasLostIsFoundAgain) {
  auto host = StartFilled();
  const auto ready = Ready();
  engine_.Fail("POST", "/rename", "500 Internal Server Error", "cut off", 1, true);
  engine_.Fail("DELETE", "/containers/", "500 Internal Server Error", "cut off");
  ASSERT_FALSE(host->Create("alice"));
  ASSERT_EQ(engine_.Of(ready.id).name, NameOf("alice"));
  EXPECT_EQ(RecordOf("alice").volume, ready.volume) << "it says whose it may be";
  const auto again = host->Create("alice");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->live().container, ready.id);
  EXPECT_EQ(RecordOf("alice").volume, ready.volume);
  // Its host dies, its container ends: the files are still the user's.
  Kill(std::move(host));
  engine_.End(ready.id);
  const auto next = Start();
  ASSERT_TRUE(next->Sweep());
  EXPECT_FALSE(engine_.Has(ready.id));
  EXPECT_TRUE(engine_.HasVolume(ready.volume));
  ASSERT_TRUE(next->Create("alice"));
  EXPECT_EQ(engine_.Of(NameOf("alice")).volume, ready.volume);
}

TEST_F(PoolTest, AContainerThatCantBeRemovedIsNobodys) {
  auto host = StartFilled();
  const auto ready = Ready();
  engine_.Fail("POST", "/rename", "500 Internal Server Error", "out of luck");
  engine_.Fail("DELETE", "/containers/", "500 Internal Server Error", "out of luck");
  ASSERT_FALSE(host->Create("alice"));
  ASSERT_TRUE(engine_.Has(ready.id));
  for (const char* user : {"alice", "bob"}) {
    const auto sandbox = host->Create(user);
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    EXPECT_NE((*sandbox)->live().container, ready.id);
    EXPECT_NE(RecordOf(user).volume, ready.volume);
  }
  Kill(std::move(host));
  ASSERT_TRUE(Start()->Sweep());
  EXPECT_FALSE(engine_.Has(ready.id));
  EXPECT_FALSE(engine_.HasVolume(ready.volume));
  EXPECT_TRUE(engine_.Has(NameOf("alice")) && engine_.Has(NameOf("bob")));
}

TEST_F(PoolTest, ManyUsersAtOnceNeverShare) {
  constexpr int kUsers = 8;
  options_.pool_size = 4;
  options_.max_containers = 20;
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
  std::set<std::string> volumes, containers;
  for (int i = 0; i < kUsers; ++i) {
    const std::string user = "user-" + std::to_string(i);
    volumes.insert(RecordOf(user).volume);
    containers.insert(RecordOf(user).container);
    EXPECT_EQ(engine_.Of(NameOf(user)).id, RecordOf(user).container);
    EXPECT_EQ(engine_.Of(NameOf(user)).volume, RecordOf(user).volume);
  }
  EXPECT_EQ(volumes.size(), static_cast<size_t>(kUsers));
  EXPECT_EQ(containers.size(), static_cast<size_t>(kUsers));
}

// Killed between the record and the rename.
TEST_F(PoolTest, AVoidClaimIsForgottenByASweep) {
  auto host = StartFilled();
  const auto ready = Ready();
  Write({.user = "alice", .volume = ready.volume, .container = ready.id});
  Kill(std::move(host));
  const auto next = Start();
  ASSERT_TRUE(next->Sweep());
  EXPECT_THAT(engine_.All(), IsEmpty());
  EXPECT_EQ(engine_.volumes(), 0u);
  EXPECT_FALSE(Exists(RecordPath("alice")));
  EXPECT_EQ(next->registry->Attach("alice").error().code, CSB_E_NO_SANDBOX);
}

TEST_F(PoolTest, AVoidClaimIsForgottenByACreateThatIsFaster) {
  auto host = StartFilled();
  const auto ready = Ready();
  Write({.user = "alice", .volume = ready.volume, .container = ready.id});
  Kill(std::move(host));
  const auto next = Start();
  const auto sandbox = next->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_NE(RecordOf("alice").volume, ready.volume);
  ASSERT_TRUE(next->Sweep());
  EXPECT_FALSE(engine_.Has(ready.id));
  EXPECT_FALSE(engine_.HasVolume(ready.volume));
  EXPECT_TRUE(engine_.Has(RecordOf("alice").container));
  EXPECT_TRUE(engine_.HasVolume(RecordOf("alice").volume));
}

// Killed after the rename, before the answer.
TEST_F(PoolTest, AClaimOutlivesItsHost) {
  for (const char* user : {"alice", "pool", "pool-1-2", "probe"}) {
    auto host = StartFilled();
    const auto ready = Ready();
    ASSERT_TRUE(host->Create(user));
    Kill(std::move(host));
    auto next = Start();
    ASSERT_TRUE(next->Sweep());
    const auto sandbox = next->registry->Attach(user);
    ASSERT_TRUE(sandbox) << user << ": " << sandbox.error().message;
    EXPECT_EQ((*sandbox)->live().container, ready.id) << user;
    ASSERT_TRUE(next->registry->Destroy(user, false));
    ASSERT_TRUE(next->Sweep());
    EXPECT_TRUE(engine_.HasVolume(ready.volume)) << user;
    ASSERT_TRUE(next->Create(user));
    EXPECT_EQ(engine_.Of(NameOf(user)).volume, ready.volume) << user;
    ASSERT_TRUE(next->registry->Destroy(user, true));
  }
}

// A claim asks nothing about a user without a record; the name that is taken tells.
TEST_F(PoolTest, AContainerWhoseRecordIsLostIsFoundAllTheSame) {
  std::string id;
  {
    const auto host = StartFilled();
    const auto sandbox = host->Create("alice");
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    id = (*sandbox)->live().container;
  }
  ASSERT_EQ(unlink(RecordPath("alice").c_str()), 0);
  const auto next = StartFilled();
  const auto again = next->Create("alice");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->live().container, id);
}

TEST_F(PoolTest, IsBoundedByTheNumberOfSandboxes) {
  options_.pool_size = 5;
  options_.max_containers = 3;
  const auto host = Start();
  host->registry->pool().Refill();
  EXPECT_EQ(host->registry->pool().size(), 3u);
  // A user who can't take one of them gets the place of one.
  ASSERT_TRUE(host->Create("alice", R"({"memory_limit":"32m"})"));
  EXPECT_EQ(host->registry->pool().size(), 2u);
  EXPECT_EQ(engine_.All().size(), 3u);
}

// A user who comes while the pool makes one that takes the last place.
TEST_F(PoolTest, WhatIsBeingMadeCountsToo) {
  options_.pool_size = 2;
  options_.max_containers = 2;
  const auto host = StartFilledWith(1);
  std::thread user;
  engine_.Before("POST", "/containers/create?name=" + names_.Pooled(host->mark->id(), 1), [&] {
    user = std::thread([&] {
      const auto sandbox = host->Create("alice", R"({"memory_limit":"32m"})");
      EXPECT_TRUE(sandbox) << sandbox.error().message;
    });
    // The user's create has asked how many there are, and found one.
    EXPECT_TRUE(Becomes([&] { return engine_.Count("GET /containers/json") >= 3; }));
  });
  host->registry->pool().Refill();
  ASSERT_TRUE(user.joinable());
  user.join();
  EXPECT_TRUE(engine_.Has(NameOf("alice")));
  EXPECT_LE(engine_.Most(), 2u);
}

TEST_F(PoolTest, OneThatDiesWhileItIsMadeIsNotMadeForEver) {
  const auto host = Start();
  engine_.Mute(true);
  host->registry->pool().Refill();
  EXPECT_EQ(host->registry->pool().size(), 0u);
  host->registry.reset();  // waits for what is still to be done
  EXPECT_EQ(engine_.Count("POST /containers/create"), 2) << "one to see whether it can be made, and one";
  EXPECT_THAT(engine_.All(), IsEmpty());
}

TEST_F(PoolTest, AnotherImageReplacesWhatIsReady) {
  const auto host = StartFilled();
  const auto ready = Ready();
  host->registry->pool().Check();
  EXPECT_TRUE(engine_.Has(ready.id));
  engine_.image_id = "sha256:ffff";
  host->registry->pool().Check();
  EXPECT_FALSE(engine_.Has(ready.id));
  EXPECT_FALSE(engine_.HasVolume(ready.volume));
  EXPECT_EQ(host->registry->pool().size(), 1u);
}

TEST_F(PoolTest, OneThatEndedIsReplaced) {
  const auto host = StartFilled();
  const auto ready = Ready();
  engine_.End(ready.id);
  EXPECT_TRUE(Becomes([&] {
    host->registry->pool().Check();
    return !engine_.Has(ready.id);
  }));
  EXPECT_FALSE(engine_.HasVolume(ready.volume));
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_TRUE((*sandbox)->channel());
}

TEST_F(PoolTest, GoesWithItsHost) {
  options_.pool_size = 3;
  auto host = StartFilled();
  host.reset();
  EXPECT_THAT(engine_.All(), IsEmpty());
  EXPECT_EQ(engine_.volumes(), 0u);
}

TEST_F(PoolTest, WhatCantBeMadeLeavesNothing) {
  const auto host = Start();
  engine_.Fail("POST", "/start", "500 Internal Server Error", "out of luck");
  host->registry->pool().Refill();
  EXPECT_EQ(host->registry->pool().size(), 0u);
  EXPECT_THAT(engine_.All(), IsEmpty());
  EXPECT_EQ(engine_.volumes(), 0u);
  EXPECT_TRUE(host->host.Logged("can't be filled"));
  host->registry->pool().Refill();
  EXPECT_EQ(host->registry->pool().size(), 1u);
}

}  // namespace
}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
//
// Host processes, of one machine or of several, that make one user's sandbox at once.
#include <barrier>
#include <future>

#include "plugins/incus/fake_incus_fixture.h"

namespace csb::incus {
namespace {

using ::testing::SizeIs;

using RegistryRaceTest = FakeIncusTest;

// ---- two hosts at once ----

TEST_F(RegistryRaceTest, WhoIsSecondAttachesToWhatTheFirstMade) {
  const auto a = Start(), b = Start(kElsewhere);
  for (const std::string step : {"/1.0/profiles?", "/volumes/custom?", "/1.0/instances?"}) {
    server_.Before("POST", step, [&] {
      const auto first = b->Create("alice");
      EXPECT_TRUE(first) << step << ": " << first.error().message;
    });
    const auto second = a->Create("alice");
    ASSERT_TRUE(second) << step << ": " << second.error().message;
    EXPECT_EQ((*second)->live().name, b->registry->Find("alice")->live().name) << step;
    EXPECT_THAT(server_.Instances(), SizeIs(1)) << step;
    EXPECT_EQ(server_.volumes(), 1u) << step;
    EXPECT_EQ(server_.profiles(), 1u) << step;
    EXPECT_EQ(RecordOf("alice").instance, (*second)->live().name) << step;
    const auto purged = a->registry->Destroy("alice", true);
    ASSERT_TRUE(purged) << step << ": " << purged.error().message;
    ASSERT_TRUE(b->registry->Destroy("alice", true));
    ExpectNothing(step);
  }
}

// The other host has purged, and what this one is attached to has not told yet that it ended.
TEST_F(RegistryRaceTest, WhatAnotherHostPurgedIsLetGoOf) {
  const auto host = Start();
  ASSERT_TRUE(host->Create("alice"));
  ASSERT_TRUE(Records(*engine_, names_).Remove(KeyOf("alice")));
  const auto purged = host->registry->Destroy("alice", true);
  ASSERT_TRUE(purged) << purged.error().message;
  EXPECT_FALSE(purged->existed);
  EXPECT_EQ(host->registry->Find("alice"), nullptr);
}

// The other host has written the record, and then nothing more.
TEST_F(RegistryRaceTest, ARecordWithNothingBehindItIsMadeTrue) {
  const auto host = Start();
  server_.Before("POST", "/1.0/profiles?", [&] { Write(NewRecord("alice")); });
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().name, InstanceOf("alice"));
  EXPECT_TRUE(server_.HasVolume(VolumeOf("alice")));
}

TEST_F(RegistryRaceTest, ManyHostsAndOneUserMakeOneSandbox) {
  constexpr size_t kHosts = 6;
  std::vector<HostPtr> hosts;
  for (size_t i = 0; i < kHosts; ++i)
    hosts.push_back(Start(i % 3 == 0 ? kHere : "m" + std::to_string(i % 3)));
  for (int round = 0; round < 3; ++round) {
    std::barrier start(kHosts);
    std::vector<std::thread> threads;
    for (const HostPtr& host : hosts)
      threads.emplace_back([&] {
        start.arrive_and_wait();
        const auto sandbox = host->Create("alice");
        EXPECT_TRUE(sandbox) << sandbox.error().message;
      });
    for (std::thread& thread : threads) thread.join();
    const std::string name = RecordOf("alice").instance;
    for (const HostPtr& host : hosts) {
      ASSERT_TRUE(host->registry->Find("alice"));
      EXPECT_EQ(host->registry->Find("alice")->live().name, name);
    }
    EXPECT_TRUE(Becomes([&] { return server_.Instances().size() == 1; }));
    EXPECT_EQ(server_.volumes(), 1u);
    EXPECT_TRUE(hosts[0]->registry->Stop("alice", false));
    // The others hear of it from their streams; until then they have what is ending.
    for (const HostPtr& host : hosts)
      EXPECT_TRUE(Becomes([&] { return host->registry->Find("alice") == nullptr; }));
  }
}

// ---- what another host is making ----

TEST_F(RegistryRaceTest, WhatAnotherHostIsMakingIsWaitedFor) {
  const std::string name = AddUsers("alice", "new", "0a0a0a0a", kElsewhere);
  const auto host = Start();
  auto attached = std::async(std::launch::async, [&] { return host->registry->Attach("alice"); });
  ASSERT_TRUE(Becomes([&] { return server_.Count("GET /1.0/instances/" + name + "?") >= 2; }));
  server_.Start(name);
  host->registry->OnLifecycle("instance-started", name);
  const auto sandbox = attached.get();
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().name, name);
  EXPECT_EQ(RecordOf("alice").generation, 1u);
}

TEST_F(RegistryRaceTest, WhatAnotherHostGaveUpMakingIsMadeHere) {
  const std::string name = AddUsers("alice", "new", "0a0a0a0a", kElsewhere);
  const auto host = Start();
  auto created = std::async(std::launch::async, [&] { return host->Create("alice"); });
  ASSERT_TRUE(Becomes([&] { return server_.Count("GET /1.0/instances/" + name + "?") >= 2; }));
  ASSERT_TRUE(engine_->DeleteInstance(name, kChangeLimit));
  host->registry->OnLifecycle("instance-deleted", name);
  const auto sandbox = created.get();
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ(server_.Of(name).status, "Running");
}

// The lock that we hold was its maker's: nobody is at it any more.
TEST_F(RegistryRaceTest, WhatADeadHostHalfMadeIsRetired) {
  const std::string half = AddUsers("alice", "new", kDeadHost, kHere);
  const auto host = Start();
  EXPECT_EQ(host->registry->Attach("alice").error().code, CSB_E_NO_SANDBOX);
  EXPECT_TRUE(Becomes([&] { return !server_.Has(half); }));
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().name, InstanceOf("alice", 2));
  EXPECT_EQ(server_.Of(InstanceOf("alice", 2)).devices["ws"]["source"], VolumeOf("alice"));
}

// Half made by this very host, which could not remove it either.
TEST_F(RegistryRaceTest, WhatALivingHostOfThisMachineLeftIsNotWaitedFor) {
  const auto host = Start();
  server_.FailStarts(1);
  server_.Fail("DELETE", names_.Record(KeyOf("alice")) + "-", 500, "out of luck");
  ASSERT_FALSE(host->Create("alice"));
  ASSERT_EQ(server_.Of(InstanceOf("alice")).status, "Stopped");
  const auto begun = std::chrono::steady_clock::now();
  const auto sandbox = host->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  EXPECT_EQ(RecordOf("alice").instance, (*sandbox)->live().name);
  EXPECT_TRUE(Becomes([&] { return server_.Instances().size() == 1; }));
}

TEST_F(RegistryRaceTest, WhatAnotherHostEndsWhileItIsMadeIsMadeAgain) {
  const auto a = Start(), b = Start(kElsewhere);
  // Right before a looks whether it is still wanted.
  server_.Before("POST", "/exec", [&] {
    server_.Before("GET", "/1.0/profiles/", [&] { EXPECT_TRUE(b->registry->Stop("alice", false)); });
  });
  const auto sandbox = a->Create("alice");
  ASSERT_TRUE(sandbox) << sandbox.error().message;
  EXPECT_EQ((*sandbox)->live().name, InstanceOf("alice"));
  EXPECT_EQ(server_.made(), 2u);
  EXPECT_TRUE((*sandbox)->channel());
  EXPECT_TRUE(Becomes([&] { return server_.Instances().size() == 1; }));
}

}  // namespace
}  // namespace csb::incus

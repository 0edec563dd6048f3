// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/names.h"

#include "plugins/incus/records.h"

#include <gtest/gtest.h>

#include <set>

namespace csb::incus {
namespace {

const Names kNames("/state", "/run", "0123456789abcdef");

TEST(IncusNames, AUsersThingsAreTheUsers) {
  const std::string key = KeyOf("alice");
  EXPECT_EQ(key.size(), 32u);
  EXPECT_EQ(kNames.Record(key), "clara-01234567-" + key);
  EXPECT_EQ(kNames.Volume(key), "clara-01234567-" + key);
  EXPECT_EQ(kNames.Instance(key, 17), "clara-01234567-" + key + "-17");
  for (const std::string& name : {kNames.Record(key), kNames.Instance(key, 1)}) {
    EXPECT_TRUE(kNames.IsOurs(name));
    EXPECT_FALSE(kNames.IsPooled(name));
    EXPECT_EQ(kNames.KeyIn(name), key);
  }
  EXPECT_EQ(kNames.SlotOf(kNames.Instance(key, 17)), key + "-17");
}

TEST(IncusNames, NothingOfAUserIdIsInThem) {
  for (const char* user : {"alice", "Alice Smith", "pool-ab12cd34-1"})
    EXPECT_EQ(kNames.Instance(KeyOf(user), 1).find(std::string(user).substr(0, 4)), std::string::npos)
        << user;
}

// The engine's instances are host names: 63 characters at most, and they begin with a letter.
TEST(IncusNames, InstancesAreHostNames) {
  const std::string names[] = {kNames.Instance(KeyOf("alice"), 9'999'999'999'999),
                               kNames.Pooled("ab12cd34", UINT64_MAX), kNames.Filler("ab12cd34", UINT64_MAX)};
  for (const std::string& name : names) {
    EXPECT_LE(name.size(), 63u) << name;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string::npos) << name;
  }
  EXPECT_LE(kNames.Bridge().size(), 15u) << "an interface's";
}

// Whatever users are called, a sweep must not take their sandboxes for what a dead host left.
TEST(IncusNames, NoUserIsTakenForThePool) {
  std::set<std::string> keys;
  for (const char* user :
       {"pool", "Pool", "pool ", "pool-ab12cd34-17", "pool ab12cd34 17", "pool-1-2", "POOL/ab12cd34/1",
        "probe", "filler", "filler-ab12cd34-0", "tools", "tools-1f", "locks", "hosts"}) {
    const std::string key = KeyOf(user), name = kNames.Instance(key, 1);
    EXPECT_TRUE(keys.insert(key).second) << user;
    EXPECT_FALSE(kNames.IsPooled(name)) << user;
    EXPECT_EQ(kNames.KeyIn(name), key) << user;
    EXPECT_NE(key, "locks");
  }
}

TEST(IncusNames, APooledOneIsNobodys) {
  const std::string name = kNames.Pooled("ab12cd34", 17);
  EXPECT_EQ(name, "clara-01234567-pool-ab12cd34-17");
  EXPECT_TRUE(kNames.IsPooled(name));
  for (const std::string& nobodys :
       {name, kNames.Filler("ab12cd34", 0), kNames.ToolsVolume("0123456789abcdef")}) {
    EXPECT_TRUE(kNames.IsOurs(nobodys)) << nobodys;
    EXPECT_EQ(kNames.KeyIn(nobodys), "") << nobodys;
  }
}

TEST(IncusNames, OthersAreNotOurs) {
  const std::string key = KeyOf("alice");
  for (const std::string& other :
       {std::string(), std::string("clara"), std::string("clara-01234567"), "clara-ffffffff-" + key + "-1",
        std::string("clara-ffffffff-pool-ab12cd34-1"), "x" + kNames.Instance(key, 1)}) {
    EXPECT_FALSE(kNames.IsOurs(other)) << other;
    EXPECT_FALSE(kNames.IsPooled(other)) << other;
    EXPECT_EQ(kNames.KeyIn(other), "") << other;
    EXPECT_EQ(kNames.SlotOf(other), "") << other;
  }
  EXPECT_EQ(kNames.KeyIn(kNames.prefix() + key.substr(1)), "") << "too short";
  EXPECT_EQ(kNames.KeyIn(kNames.prefix() + "G" + key.substr(1)), "");
}

TEST(IncusNames, EachThingHasItsFolder) {
  EXPECT_EQ(kNames.Control("k-1"), kNames.Slot("k-1") + "/ctl");
  EXPECT_EQ(kNames.Lock("k"), "/state/locks/k");
  EXPECT_EQ(kNames.hosts(), "/state/hosts");
}

// What the server calls the socket that a machine's workspace is shared through; sockaddr_un has 108 bytes.
TEST(IncusNames, NoInstanceIsTooLongForASocketOfItsServers) {
  const Names names("/state", "/run", "0123456789abcdef");
  const std::string key(32, 'f');
  const std::string own = names.Instance(key, FirstGeneration() * 2),
                    pooled = names.Pooled("0123abcd", 1'000'000);
  for (const std::string& instance : {own, pooled}) {
    EXPECT_LT(("/var/lib/incus/devices/" + instance + "/virtio-fs.ws.sock").size(), 108u) << instance;
    EXPECT_LE(instance.size(), 63u) << instance;  // a host name
  }
}

}  // namespace
}  // namespace csb::incus

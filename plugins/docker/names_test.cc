// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/names.h"

#include <gtest/gtest.h>

#include "clara_sandbox/cpp/identity.h"

namespace csb::docker {
namespace {

const Names kNames("/state", "/run", "", "0123456789abcdef");

TEST(DockerNames, AUsersContainerIsTheUsers) {
  const std::string name = KeyOf("alice"), container = kNames.Container(name);
  EXPECT_EQ(container, "clara-01234567-" + name);
  EXPECT_FALSE(kNames.IsPooled(container));
  EXPECT_EQ(kNames.NameOf(container), name);
}

TEST(DockerNames, APooledOneIsNobodys) {
  const std::string container = kNames.Pooled("ab12cd34", 17);
  EXPECT_EQ(container, "clara-01234567-pool-ab12cd34-17");
  EXPECT_TRUE(kNames.IsPooled(container));
  EXPECT_EQ(kNames.NameOf(container), "");
  EXPECT_EQ(MakerOf("pool-ab12cd34-17", "pool"), "ab12cd34");
  EXPECT_TRUE(kNames.IsPooled(kNames.Pooled("ab12cd34", UINT64_MAX)));
}

// Whatever users are called, a sweep must not take their sandboxes for what a dead host left.
TEST(DockerNames, NoUserIsTakenForThePool) {
  for (const char* user :
       {"pool", "Pool", "pool ", "pool-ab12cd34-17", "pool ab12cd34 17", "pool-ab12cd34", "pool-1-2",
        "POOL/ab12cd34/1", "probe", "probe-1-2", "agent", "bridge", "locks", "hosts"}) {
    const std::string name = KeyOf(user), container = kNames.Container(name);
    EXPECT_FALSE(kNames.IsPooled(container)) << user;
    EXPECT_EQ(kNames.NameOf(container), name) << user;
    EXPECT_EQ(MakerOf(name, "pool"), "") << user;
    EXPECT_EQ(MakerOf(name, "probe"), "") << user;
    EXPECT_NE(name, "locks");
    EXPECT_NE(name, "hosts");
  }
}

TEST(DockerNames, OthersAreNotOurs) {
  for (const char* other : {"", "clara", "clara-01234567", "clara-ffffffff-alice",
                            "clara-ffffffff-pool-ab12cd34-1", "postgres", "xclara-01234567-alice"}) {
    EXPECT_FALSE(kNames.IsPooled(other)) << other;
    EXPECT_EQ(kNames.NameOf(other), "") << other;
  }
  EXPECT_EQ(kNames.InstallationFilter(), "clara-sandbox.installation=0123456789abcdef");
}

TEST(DockerNames, AMakersNameHasThreeParts) {
  for (const char* bad : {"", "pool", "pool-", "pool-a", "pool-a-", "pool--1", "pool-a-1x", "pool-a-b-1",
                          "poola-1", "pool-a-123456789012345678901"})
    EXPECT_EQ(MakerOf(bad, "pool"), "") << bad;
  EXPECT_EQ(MakerOf("probe-4711-123456", "probe"), "4711");
}

}  // namespace
}  // namespace csb::docker

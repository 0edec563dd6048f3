// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/storage.h"

#include <gmock/gmock.h>

#include "plugins/incus/fake_incus.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;

class StorageTest : public ::testing::Test {
 protected:
  ~StorageTest() override { engine_.reset(); }
  static PoolInfo Pool(const std::string& name, const std::string& driver,
                       const std::string& status = "Created") {
    return {.name = name, .driver = driver, .status = status};
  }
  void SetDefault(const std::string& pool) {
    server_.Add(
        ProfileInfo{"default", {}, "", {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", pool}}}}});
  }

  FakeIncus server_;
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("storage-test");
  std::unique_ptr<Engine> engine_ =
      std::make_unique<Engine>(*reactor_, *HttpClient::Create(*reactor_, server_.endpoint()), "default");
};

TEST_F(StorageTest, TheOneThatIsConfiguredWins) {
  server_.SetPools({Pool("a", "btrfs"), Pool("b", "dir"), Pool("c", "zfs")});
  SetDefault("c");
  const auto pool = ChoosePool(*engine_, "b");
  ASSERT_TRUE(pool) << pool.error().message;
  EXPECT_EQ(pool->name, "b");
  EXPECT_EQ(pool->driver, "dir");
}

TEST_F(StorageTest, OneThatIsConfiguredAndMissingIsNotReplaced) {
  server_.SetPools({Pool("a", "btrfs")});
  const auto missing = ChoosePool(*engine_, "fast");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(missing.error().message, HasSubstr("incus.pool: the server has no storage pool fast"));
  EXPECT_THAT(missing.error().hint, HasSubstr("incus storage create fast btrfs"));
  server_.Fail("GET", "/1.0/storage-pools/a", 500, "out of luck");
  EXPECT_THAT(ChoosePool(*engine_, "a").error().message, HasSubstr("out of luck"));
}

TEST_F(StorageTest, ThenTheOneOfTheDefaultProfile) {
  server_.SetPools({Pool("a", "btrfs"), Pool("b", "dir")});
  SetDefault("b");
  EXPECT_EQ(ChoosePool(*engine_, "")->name, "b") << "what people have chosen for their instances";
  SetDefault("gone");
  EXPECT_EQ(ChoosePool(*engine_, "")->name, "a");
  server_.RemoveProfile("default");
  EXPECT_EQ(ChoosePool(*engine_, "")->name, "a");
}

TEST_F(StorageTest, ThenTheBestThereIs) {
  std::vector<PoolInfo> pools;
  for (const char* driver : {"dir", "lvmcluster", "lvm", "ceph", "zfs", "btrfs"}) {
    pools.push_back(Pool("p-" + std::string(driver), driver));
    server_.SetPools(pools);
    EXPECT_EQ(ChoosePool(*engine_, "")->driver, driver) << "better than those before";
  }
  // For objects, or half made.
  server_.SetPools({Pool("a", "cephfs"), Pool("b", "cephobject"), Pool("c", "unheard-of"),
                    Pool("d", "btrfs", "Pending"), Pool("e", "btrfs", "Errored"), Pool("f", "dir")});
  EXPECT_EQ(ChoosePool(*engine_, "")->name, "f");
}

TEST_F(StorageTest, NoneAtAllSaysWhatToDo) {
  for (const std::vector<PoolInfo>& pools : {std::vector<PoolInfo>{}, {Pool("a", "cephfs")}}) {
    server_.SetPools(pools);
    const auto none = ChoosePool(*engine_, "");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(none.error().hint, HasSubstr("incus storage create"));
  }
}

TEST(IncusStorage, SaysWhatAPoolCosts) {
  EXPECT_FALSE(EnforcesSize("dir"));
  EXPECT_FALSE(EnforcesSize(""));
  EXPECT_FALSE(EnforcesSize("cephfs"));
  for (const char* driver : {"btrfs", "zfs", "lvm", "lvmcluster", "ceph"}) {
    EXPECT_TRUE(EnforcesSize(driver)) << driver;
    EXPECT_EQ(CostOf({.name = "p", .driver = driver}), "") << driver;
  }
  EXPECT_THAT(CostOf({.name = "slow", .driver = "dir"}), HasSubstr("the storage pool slow"));
}

}  // namespace
}  // namespace csb::incus

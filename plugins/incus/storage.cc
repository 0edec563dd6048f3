// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/storage.h"

#include <algorithm>
#include <array>

#include "plugins/incus/limits.h"

namespace csb::incus {
namespace {

constexpr std::array<const char*, 6> kBest = {"btrfs", "zfs", "ceph", "lvm", "lvmcluster", "dir"};

size_t Rank(const std::string& driver) {
  return static_cast<size_t>(std::find(kBest.begin(), kBest.end(), driver) - kBest.begin());
}

}  // namespace

bool EnforcesSize(const std::string& driver) {
  return driver == "btrfs" || driver == "zfs" || driver == "lvm" || driver == "lvmcluster" ||
         driver == "ceph";
}

std::string CostOf(const PoolInfo& pool) {
  if (pool.driver != "dir") return {};
  return "the storage pool " + pool.name +
         " is of kind dir: a create copies the image (seconds) and incus.disk can't be enforced; btrfs or "
         "zfs "
         "do both: incus storage create fast btrfs, then incus.pool=fast";
}

Result<PoolInfo> ChoosePool(Engine& engine, const std::string& wanted) {
  const std::string make = "incus storage create default btrfs, or `incus admin init`";
  auto profile = engine.Profile("default", kAskLimit);
  if (!profile && profile.error().message.find("roject not found") != std::string::npos)
    return Error{CSB_E_UNAVAILABLE, "the Incus server has no project " + engine.project(),
                 "incus project create " + engine.project() + ", or set INCUS_PROJECT (incus.project)",
                 false};
  if (!wanted.empty()) {
    auto pool = engine.Pool(wanted, kAskLimit);
    if (!pool && pool.error().code == CSB_E_NOT_FOUND)
      return Error{CSB_E_UNAVAILABLE, "incus.pool: the server has no storage pool " + wanted,
                   "incus storage list shows which it has; incus storage create " + wanted + " btrfs", false};
    return pool;
  }
  if (profile)
    if (const auto it = profile->devices.find("root"); it != profile->devices.end())
      if (const auto name = it->second.find("pool"); name != it->second.end())
        if (auto pool = engine.Pool(name->second, kAskLimit)) return pool;
  auto pools = engine.Pools(kAskLimit);
  if (!pools) return pools.error();
  std::erase_if(*pools, [](const PoolInfo& pool) {
    return pool.status != "Created" || Rank(pool.driver) == kBest.size();
  });
  if (pools->empty()) return Error{CSB_E_UNAVAILABLE, "the Incus server has no storage pool", make, false};
  return *std::min_element(pools->begin(), pools->end(), [](const PoolInfo& a, const PoolInfo& b) {
    return Rank(a.driver) < Rank(b.driver);
  });
}

}  // namespace csb::incus

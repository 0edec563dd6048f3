// SPDX-License-Identifier: Apache-2.0
//
// storage.h: which storage pool sandboxes are made on, and what it costs: a create on btrfs, zfs, lvm or ceph
// is a snapshot of the image; on dir it is a copy of all its files, and a size is not enforced.
//
//   auto pool = ChoosePool(engine, options.pool);
//   if (!pool) return pool.error();
#pragma once

#include <string>

#include "plugins/incus/engine.h"

namespace csb::incus {

// `wanted`, or the one of the default profile, or the best there is. CSB_E_UNAVAILABLE with what to do.
Result<PoolInfo> ChoosePool(Engine& engine, const std::string& wanted);

bool EnforcesSize(const std::string& driver);
// "" where there is nothing to say.
std::string CostOf(const PoolInfo& pool);

}  // namespace csb::incus

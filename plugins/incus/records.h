// SPDX-License-Identifier: Apache-2.0
//
// records.h: what is written down about a user: a profile of the engine's, which no instance uses. So every
// host that reaches the server or cluster reads the same, the engine decides which of two hosts was first (a
// name is taken once, a change needs the ETag of what it changes), and nothing of it is lost with a host.
// Costs: a create 3 ms, a read 2 ms, a change 5 ms.
//
//   Records records(engine, names);
//   if (Status s = records.Create(key, record); !s && s.error().code == CSB_E_CONFLICT) …   // another host
//
// Blocks; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plugins/incus/engine.h"
#include "plugins/incus/names.h"
#include "plugins/incus/options.h"

namespace csb::incus {

struct Record {
  std::string user;  // exact id
  // The instance that is the user's now, or the next one's name where it is not there. A claim of the pool
  // writes the pooled one's.
  std::string instance;
  uint64_t generation = 0;   // of that name, for the next; see FirstGeneration
  std::string pool, volume;  // of the workspace
  std::string member;        // that the volume is on; "" where any has it
  std::string left;          // a member with a copy that is not up to date, and is to be deleted
  std::string created_at;    // RFC 3339
  std::string image;         // as it was asked for
  Limits limits;             // of the last sandbox
  std::string etag;          // as it was read
};

class Records {
 public:
  Records(Engine& engine, const Names& names) : engine_(engine), names_(names) {}

  Status Create(const std::string& key, const Record& record) const;   // CSB_E_CONFLICT: there is one
  Result<Record> Read(const std::string& key) const;                   // CSB_E_NOT_FOUND
  Status Replace(const std::string& key, const Record& record) const;  // CSB_E_CONFLICT: changed meanwhile
  Status Remove(const std::string& key) const;                         // gone: no error
  // Those that can't be read are left out. `complete`: whether there are none such.
  Result<std::vector<Record>> All(bool* complete = nullptr) const;

 private:
  Engine& engine_;
  const Names& names_;
};

// Where a user's instances are counted from: milliseconds since 1970, beyond those of an earlier record,
// which may have to be removed yet when the same user has a sandbox again.
uint64_t FirstGeneration();

// CSB_E_INTERNAL: it is no record.
Result<Record> RecordOf(const ProfileInfo& profile);
Config ConfigOf(const Record& record, const std::string& installation);

}  // namespace csb::incus

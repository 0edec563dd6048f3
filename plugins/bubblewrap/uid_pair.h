// SPDX-License-Identifier: Apache-2.0
//
// uid_pair.h: two host uids for each user when the host runs as root: one for the sandbox's agent
// (its root), one for user code (1000 inside). A pair stays with its user as long as the workspace
// exists, and no two users have the same, so that even plain file permissions keep them apart.
//
//   UidPairs pairs(state_dir + "/uids", *UidRange::Parse("1900000000:200000000"));
//   auto pair = pairs.Claim("alice-2bd8…");      // the same one every time
//   pairs.Release("alice-2bd8…", *pair);          // the workspace was purged
//
// A claim is one symbolic link (slot → name): made atomically, so host processes need no lock.
// Thread-safe; blocks for a few system calls.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::bwrap {

inline constexpr uid_t kUserInside = 1000;  // uid and gid of user code, as it sees itself

struct UidPair {
  uid_t agent = 0;  // also the gid
  uid_t user = 0;

  bool operator==(const UidPair&) const = default;
};

struct UidRange {
  uid_t first = 0;
  uint32_t count = 0;  // uids, two for a user

  // "FIRST:COUNT"; refuses ranges that reach system accounts or the invalid uid.
  static Result<UidRange> Parse(std::string_view text);
  // False when this process's user namespace does not have them all (/proc/self/uid_map's text).
  bool MappedBy(std::string_view uid_map) const;
};

class UidPairs {
 public:
  UidPairs(std::string folder, UidRange range) : folder_(std::move(folder)), range_(range) {}
  Result<UidPair> Claim(const std::string& name) const;
  Status Release(const std::string& name, UidPair pair) const;

 private:
  UidPair At(uint32_t slot) const { return {range_.first + 2 * slot, range_.first + 2 * slot + 1}; }
  std::string folder_;
  UidRange range_;
};

}  // namespace csb::bwrap

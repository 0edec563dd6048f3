// SPDX-License-Identifier: Apache-2.0
//
// unpack.h: the members of an archive, put into an empty folder of the caller's, checked one by one.
//
//   Unpacker unpacker(dir, limits);
//   if (auto done = unpacker.Run(reader, "notes.txt"); !done) …     // damaged, too large, disk full
//   if (!unpacker.refused().empty()) …                              // nothing may be used
//
// Once a member was refused, the rest is only read to name further ones. Bytes are counted as they
// unpack, never as declared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/files/archive_reader.h"
#include "agent/files/confined_dir.h"
#include "agent/files/member_name.h"

namespace csb::agent {

struct UnpackLimits {
  uint64_t bytes = uint64_t{4} << 30;  // content of all files, holes included
  uint64_t entries = 100000;           // members, and folders made on the way to them
  size_t depth = 64;
};

// Lines that name members: the first thousand, then a count.
class NameLog {
 public:
  void Add(std::string line);
  bool empty() const { return total_ == 0; }
  uint64_t total() const { return total_; }
  std::string Text() const;

 private:
  std::vector<std::string> lines_;
  uint64_t total_ = 0;
};

class Unpacker {
 public:
  Unpacker(const ConfinedDir& dir, const UnpackLimits& limits) : dir_(dir), limits_(limits) {}

  // `raw_name` is the name of the only member of a .gz, .bz2, .xz or .zst. CSB_E_INVALID: damaged,
  // encrypted; CSB_E_TOO_LARGE: a limit; CSB_E_NO_SPACE and others: the system said no.
  Status Run(ArchiveReader& reader, const std::string& raw_name);

  const NameLog& unpacked() const { return unpacked_; }
  const NameLog& refused() const { return refused_; }
  uint64_t files() const { return files_; }
  uint64_t links() const { return links_; }
  uint64_t folders() const { return folders_; }
  uint64_t members() const { return members_; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Place {
    int folder;  // owned by parent_
    std::string leaf;
  };
  // Each returns CSB_E_INVALID for a member to refuse.
  Status Put(ArchiveReader& reader, const Member& member, const std::string& name);
  Status PutFile(ArchiveReader& reader, const Member& member, const std::string& name);
  Status PutSymlink(const Member& member, const std::string& name);
  Status PutHardlink(const Member& member, const std::string& name);
  Status Drain(ArchiveReader& reader);
  Status CountEntries() const;
  Status CountBytes(int64_t from, int64_t to);
  Result<Place> PlaceOf(const std::string& name);
  Status MakeRoom(const Place& place, const std::string& name);
  void Refuse(const Member& member, const std::string& why);
  Error TooLarge(const std::string& what) const;

  const ConfinedDir& dir_;
  const UnpackLimits limits_;
  NameLog unpacked_, refused_;
  uint64_t files_ = 0, links_ = 0, folders_ = 0, bytes_ = 0, members_ = 0;
  std::string parent_name_;
  Fd parent_;
};

}  // namespace csb::agent

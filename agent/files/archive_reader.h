// SPDX-License-Identifier: Apache-2.0
//
// archive_reader.h: members of an archive, one after another, by libarchive: zip, tar (plain or
// compressed by gzip, bzip2, xz, zstd), or one file compressed by these. All else is refused.
//
//   ArchiveReader reader(fd);                      // the descriptor stays the caller's
//   if (auto ok = reader.Open(); !ok) …
//   while (auto member = reader.Next()) {          // Result<optional<Member>>
//     if (!*member) break;
//     reader.Data([&](std::string_view bytes, int64_t offset) { … });
//   }
//
// Errors are CSB_E_INVALID with a reason for the user (damaged, encrypted, not an archive).
// Names are bytes: libarchive would convert them to the locale's character set and lose what that
// cannot hold; charset.c makes it take UTF-8 for the locale's own, whatever the image has.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "clara_sandbox/cpp/result.h"

struct archive;

namespace csb::agent {

struct Member {
  enum class Type { kFile, kFolder, kSymlink, kHardlink, kSpecial };
  Type type = Type::kFile;
  std::string name;          // as in the archive; "" where it could not be read
  std::string target;        // of links
  uint32_t mode = 0;         // permission bits, set-id bits included
  int64_t mtime = -1;        // seconds since 1970; -1: not told
  int64_t sparse_size = -1;  // the full size of a file with holes, its end may be one
  bool encrypted = false;
  bool raw = false;  // a single compressed file: the name is the caller's to choose
};

class ArchiveReader {
 public:
  // kSingleFile takes what a filter unpacks as one file, whatever it looks like.
  enum class Formats { kAll, kSingleFile };
  explicit ArchiveReader(int fd, Formats formats = Formats::kAll);
  ~ArchiveReader();
  ArchiveReader(const ArchiveReader&) = delete;

  Status Open();
  Result<std::optional<Member>> Next();
  // Content of the member that Next gave, in rising offsets (sparse files have gaps). `sink`
  // returns an error to stop, which comes back.
  Status Data(const std::function<Status(std::string_view bytes, int64_t offset)>& sink);
  // Bytes after decompression that the format has consumed so far.
  int64_t Unpacked() const;

 private:
  Error Fault(const char* doing) const;
  struct Free {
    void operator()(archive* a) const;
  };
  int fd_;
  Formats formats_;
  bool no_members_ = false;
  std::unique_ptr<archive, Free> archive_;
};

}  // namespace csb::agent

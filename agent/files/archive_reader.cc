// SPDX-License-Identifier: Apache-2.0
#include "agent/files/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "agent/files/task_io.h"

namespace csb::agent {
namespace {

constexpr const char* kForeign = "not a zip, tar, gz, bz2, xz or zst archive, or a damaged one";
constexpr size_t kBlock = 256 << 10;

std::string Text(const char* bytes) { return bytes == nullptr ? "" : bytes; }

Member::Type TypeOf(archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr) return Member::Type::kHardlink;
  switch (archive_entry_filetype(entry)) {
    case AE_IFDIR:
      return Member::Type::kFolder;
    case AE_IFLNK:
      return Member::Type::kSymlink;
    case AE_IFREG:
    case 0:  // formats without types
      return Member::Type::kFile;
    default:
      return Member::Type::kSpecial;
  }
}

// A zip without members is its end record alone (APPNOTE.TXT 4.3.16), which libarchive takes for no zip.
bool IsEmptyZip(int fd) {
  constexpr size_t kEndRecord = 22;
  char bytes[kEndRecord];
  return pread(fd, bytes, kEndRecord, 0) == kEndRecord && memcmp(bytes, "PK\5\6\0\0\0\0\0\0\0\0", 12) == 0;
}

}  // namespace

void ArchiveReader::Free::operator()(archive* a) const { archive_read_free(a); }

ArchiveReader::ArchiveReader(int fd, Formats formats)
    : fd_(fd), formats_(formats), archive_(archive_read_new()) {}
ArchiveReader::~ArchiveReader() = default;

Error ArchiveReader::Fault(const char* doing) const {
  const char* why = archive_error_string(archive_.get());
  return {CSB_E_INVALID, std::string(doing) + ": " + (why == nullptr ? "damaged" : ForMessage(why)), "",
          false};
}

Status ArchiveReader::Open() {
  no_members_ = IsEmptyZip(fd_);
  if (no_members_) return {};
  archive* a = archive_.get();
  if (a == nullptr) return Error{CSB_E_NO_CAPACITY, "out of memory", "", true};
  // Named one by one: "all" drags in decoders that nobody asked for, some run outside programs.
  if (archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
      archive_read_support_filter_bzip2(a) != ARCHIVE_OK || archive_read_support_filter_xz(a) != ARCHIVE_OK ||
      archive_read_support_filter_zstd(a) != ARCHIVE_OK || archive_read_support_format_raw(a) != ARCHIVE_OK)
    return Fault("cannot set up the archive reader");
  if (formats_ == Formats::kAll && (archive_read_support_format_zip_seekable(a) != ARCHIVE_OK ||
                                    archive_read_support_format_tar(a) != ARCHIVE_OK))
    return Fault("cannot set up the archive reader");
  if (archive_read_open_fd(a, fd_, kBlock) != ARCHIVE_OK) return Fault(kForeign);
  return {};
}

Result<std::optional<Member>> ArchiveReader::Next() {
  if (no_members_) return std::optional<Member>();
  archive* a = archive_.get();
  archive_entry* entry = nullptr;
  int status = ARCHIVE_RETRY;
  for (int tries = 0; status == ARCHIVE_RETRY && tries < 100; ++tries)
    status = archive_read_next_header(a, &entry);
  if (status == ARCHIVE_EOF) return std::optional<Member>();
  // A warning is about an attribute (a name that is no UTF-8); the caller refuses what it needs.
  if (status < ARCHIVE_WARN) return Fault("the archive is damaged, or of a kind that is not supported");
  Member member;
  member.raw = archive_format(a) == ARCHIVE_FORMAT_RAW;
  if (member.raw && archive_filter_count(a) < 2)  // "none" counts as one
    return Error{CSB_E_INVALID, kForeign, "", false};
  member.type = TypeOf(entry);
  member.name = Text(archive_entry_pathname(entry));
  member.target = Text(member.type == Member::Type::kHardlink ? archive_entry_hardlink(entry)
                                                              : archive_entry_symlink(entry));
  member.mode = archive_entry_perm(entry);
  if (archive_entry_mtime_is_set(entry)) member.mtime = archive_entry_mtime(entry);
  if (archive_entry_sparse_count(entry) > 0 && archive_entry_size_is_set(entry))
    member.sparse_size = archive_entry_size(entry);
  member.encrypted = archive_entry_is_encrypted(entry) != 0;
  return std::optional<Member>(std::move(member));
}

Status ArchiveReader::Data(const std::function<Status(std::string_view, int64_t)>& sink) {
  while (true) {
    const void* block = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(archive_.get(), &block, &size, &offset);
    if (status == ARCHIVE_EOF) return {};
    if (status == ARCHIVE_RETRY) continue;
    if (status != ARCHIVE_OK) return Fault("the archive is damaged");
    if (auto taken = sink({static_cast<const char*>(block), size}, offset); !taken) return taken;
  }
}

int64_t ArchiveReader::Unpacked() const { return archive_filter_bytes(archive_.get(), 0); }

}  // namespace csb::agent

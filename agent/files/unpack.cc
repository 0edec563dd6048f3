// SPDX-License-Identifier: Apache-2.0
#include "agent/files/unpack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/files/task_io.h"

namespace csb::agent {
namespace {

constexpr size_t kMaxLines = 1000;

std::string FolderPart(const std::string& name) {
  const size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}
std::string LeafPart(const std::string& name) {
  const size_t slash = name.rfind('/');
  return slash == std::string::npos ? name : name.substr(slash + 1);
}
Error RefusedBecause(std::string why) { return {CSB_E_INVALID, std::move(why), "", false}; }

}  // namespace

void NameLog::Add(std::string line) {
  ++total_;
  if (lines_.size() < kMaxLines) lines_.push_back(std::move(line));
}

std::string NameLog::Text() const {
  std::string text;
  for (const std::string& line : lines_) text += line + "\n";
  if (total_ > lines_.size()) text += "… and " + std::to_string(total_ - lines_.size()) + " more\n";
  return text;
}

Error Unpacker::TooLarge(const std::string& what) const {
  return {CSB_E_TOO_LARGE, "the archive unpacks to more than " + what,
          "nothing was unpacked; take what you need out of it by a command", false};
}

Status Unpacker::CountBytes(int64_t from, int64_t to) {
  if (to > from) bytes_ += static_cast<uint64_t>(to - from);
  if (bytes_ > limits_.bytes) return TooLarge(std::to_string(limits_.bytes) + " bytes");
  return {};
}

Status Unpacker::CountEntries() const {
  // Folders made on the way count: one member can bring as many as `depth`.
  if (members_ + folders_ > limits_.entries) return TooLarge(std::to_string(limits_.entries) + " entries");
  return {};
}

Status Unpacker::Drain(ArchiveReader& reader) {
  int64_t end = 0;
  return reader.Data([&](std::string_view bytes, int64_t offset) -> Status {
    const int64_t next = offset + static_cast<int64_t>(bytes.size());
    const int64_t before = std::exchange(end, std::max(end, next));
    return CountBytes(before, next);
  });
}

void Unpacker::Refuse(const Member& member, const std::string& why) {
  refused_.Add(
      "refused: " + (member.name.empty() ? "member " + std::to_string(members_) : EscapeName(member.name)) +
      (member.target.empty() ? "" : " -> " + EscapeName(member.target)) + ": " + why);
}

Status Unpacker::Run(ArchiveReader& reader, const std::string& raw_name) {
  while (true) {
    auto next = reader.Next();
    if (!next) return next.error();
    if (!*next) return {};
    Member& member = **next;
    ++members_;
    if (auto counted = CountEntries(); !counted) return counted;
    if (member.encrypted)
      return Error{CSB_E_INVALID, EscapeName(member.name) + " is encrypted, and unzip takes no password",
                   "unpack it by a command that is given the password", false};
    if (member.raw) member.name = raw_name;
    auto name = CleanMemberName(member.name, {.depth = limits_.depth});
    Status put;
    if (!name) {
      put = name.error();
    } else if (name->empty()) {  // the destination itself
      if (member.type != Member::Type::kFolder) put = RefusedBecause("no name is left");
    } else {
      put = Put(reader, member, *name);
    }
    if (put) put = CountEntries();
    if (put) continue;
    if (put.error().code != CSB_E_INVALID) return put;
    Refuse(member, put.error().message);
    if (auto drained = Drain(reader); !drained) return drained;
  }
}

Status Unpacker::Put(ArchiveReader& reader, const Member& member, const std::string& name) {
  switch (member.type) {
    case Member::Type::kSpecial:
      return RefusedBecause("a device node, FIFO or socket");
    case Member::Type::kFile:
      return PutFile(reader, member, name);
    case Member::Type::kSymlink:
      return PutSymlink(member, name);
    case Member::Type::kHardlink:
      if (auto put = PutHardlink(member, name); !put) return put;
      return Drain(reader);
    case Member::Type::kFolder:
      break;
  }
  if (!refused_.empty()) return {};
  auto folder = dir_.MakeFolder(name, &folders_);
  if (!folder) return folder.error();
  unpacked_.Add(EscapeName(name) + "/");
  return {};
}

Result<Unpacker::Place> Unpacker::PlaceOf(const std::string& name) {
  const std::string folder = FolderPart(name);
  if (!parent_ || folder != parent_name_) {
    auto opened = dir_.MakeFolder(folder, &folders_);
    if (!opened) return opened.error();
    parent_ = std::move(*opened);
    parent_name_ = folder;
  }
  return Place{parent_.get(), LeafPart(name)};
}

// The later of two members with one name wins; what it replaces is unlinked, never written through.
Status Unpacker::MakeRoom(const Place& place, const std::string& name) {
  if (unlinkat(place.folder, place.leaf.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno == EISDIR || errno == EPERM)
    return RefusedBecause("a folder of that name came earlier in the archive");
  return FromErrno(errno, "unpack", name);
}

Status Unpacker::PutFile(ArchiveReader& reader, const Member& member, const std::string& name) {
  if (!refused_.empty()) return Drain(reader);
  auto place = PlaceOf(name);
  if (!place) return place.error();
  constexpr int kFlags = O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC;
  Fd file(openat(place->folder, place->leaf.c_str(), kFlags, 0600));
  if (!file && errno == EEXIST) {
    if (auto room = MakeRoom(*place, name); !room) return room;
    file = Fd(openat(place->folder, place->leaf.c_str(), kFlags, 0600));
  }
  if (!file) return FromErrno(errno, "unpack", name);

  int64_t end = 0;
  auto copied = reader.Data([&](std::string_view bytes, int64_t offset) -> Status {
    const int64_t next = offset + static_cast<int64_t>(bytes.size());
    const int64_t before = std::exchange(end, std::max(end, next));
    if (auto counted = CountBytes(before, next); !counted) return counted;
    while (!bytes.empty()) {
      const ssize_t n = pwrite(file.get(), bytes.data(), bytes.size(), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return FromErrno(errno, "unpack", name);
      bytes.remove_prefix(static_cast<size_t>(n));
      offset += n;
    }
    return {};
  });
  // A damaged archive ends the whole work; it is not one member that is refused.
  if (!copied)
    return copied.error().code == CSB_E_INVALID
               ? Error{CSB_E_BAD_REQUEST, EscapeName(name) + ": " + copied.error().message, "", false}
               : copied.error();
  if (member.sparse_size > end) {
    if (auto counted = CountBytes(end, member.sparse_size); !counted) return counted;
    if (ftruncate(file.get(), member.sparse_size) != 0) return FromErrno(errno, "unpack", name);
  }
  // As a umask of 022 leaves it, without set-id bits; the owner can always read and replace.
  const mode_t mode = member.mode == 0 ? 0644 : ((member.mode & 0755) | 0600);
  if (fchmod(file.get(), mode) != 0) return FromErrno(errno, "unpack", name);
  if (member.mtime >= 0) {
    const timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(member.mtime), 0}};
    if (futimens(file.get(), times) != 0 && errno != EINVAL) return FromErrno(errno, "unpack", name);
  }
  ++files_;
  unpacked_.Add(EscapeName(name));
  return {};
}

Status Unpacker::PutSymlink(const Member& member, const std::string& name) {
  if (auto inside = CheckLinkTarget(name, member.target); !inside) return inside;
  if (!refused_.empty()) return {};
  auto place = PlaceOf(name);
  if (!place) return place.error();
  if (symlinkat(member.target.c_str(), place->folder, place->leaf.c_str()) != 0) {
    if (errno != EEXIST) return FromErrno(errno, "unpack", name);
    if (auto room = MakeRoom(*place, name); !room) return room;
    if (symlinkat(member.target.c_str(), place->folder, place->leaf.c_str()) != 0)
      return FromErrno(errno, "unpack", name);
  }
  ++links_;
  unpacked_.Add(EscapeName(name) + " -> " + EscapeName(member.target));
  return {};
}

Status Unpacker::PutHardlink(const Member& member, const std::string& name) {
  auto target = CleanMemberName(member.target, {.depth = limits_.depth});
  if (!target) return RefusedBecause("hard link: " + target.error().message);
  if (!refused_.empty() || *target == name) return {};
  auto from = dir_.OpenFolder(FolderPart(*target));
  const std::string from_leaf = LeafPart(*target);
  struct stat st;
  if (!from || target->empty() || fstatat(from->get(), from_leaf.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 ||
      !S_ISREG(st.st_mode))
    return RefusedBecause("hard link to what is no earlier file of the archive");
  auto place = PlaceOf(name);
  if (!place) return place.error();
  if (linkat(from->get(), from_leaf.c_str(), place->folder, place->leaf.c_str(), 0) != 0) {
    if (errno != EEXIST) return FromErrno(errno, "unpack", name);
    if (auto room = MakeRoom(*place, name); !room) return room;
    if (linkat(from->get(), from_leaf.c_str(), place->folder, place->leaf.c_str(), 0) != 0)
      return FromErrno(errno, "unpack", name);
  }
  ++links_;
  unpacked_.Add(EscapeName(name) + " = " + EscapeName(*target));
  return {};
}

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/uid_pair.h"

#include <unistd.h>

#include <charconv>
#include <sstream>

#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

// FNV-1a; only spreads the slots, so that pairs of other state folders seldom coincide.
uint64_t Hash(std::string_view text) {
  uint64_t h = 14695981039346656037u;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return h;
}

std::string LinkTarget(const std::string& path) {
  char target[256];
  const ssize_t n = readlink(path.c_str(), target, sizeof target);
  return n < 0 ? std::string() : std::string(target, static_cast<size_t>(n));
}

}  // namespace

Result<UidRange> UidRange::Parse(std::string_view text) {
  const auto bad = [&](const char* why) {
    return Error{CSB_E_INVALID, "bubblewrap.uids: \"" + std::string(text) + "\" " + why,
                 "write FIRST:COUNT, for example 1900000000:200000000", false};
  };
  uint64_t first = 0, count = 0;
  const char* const end = text.data() + text.size();
  const auto a = std::from_chars(text.data(), end, first);
  if (a.ec != std::errc() || a.ptr == end || *a.ptr != ':') return bad("is not FIRST:COUNT");
  const auto b = std::from_chars(a.ptr + 1, end, count);
  if (b.ec != std::errc() || b.ptr != end) return bad("is not FIRST:COUNT");
  if (first < 1000) return bad("reaches uids of the system (below 1000)");
  if (count < 2 || first + count > 0xFFFFFFFEu) return bad("is no range of at least two uids");
  return UidRange{static_cast<uid_t>(first), static_cast<uint32_t>(count)};
}

bool UidRange::MappedBy(std::string_view uid_map) const {
  std::istringstream lines{std::string(uid_map)};
  for (uint64_t inside, outside, size; lines >> inside >> outside >> size;)
    if (inside <= first && uint64_t{first} + count <= inside + size) return true;
  return false;
}

Result<UidPair> UidPairs::Claim(const std::string& name) const {
  if (Status s = MakeFolders(folder_, 0711); !s) return s.error();
  const uint32_t slots = range_.count / 2;
  uint32_t slot = static_cast<uint32_t>(Hash(folder_ + "/" + name) % slots);
  for (uint32_t tries = 0; tries < slots && tries < 10'000; ++tries, slot = (slot + 1) % slots) {
    const std::string link = folder_ + "/" + std::to_string(slot);
    if (symlink(name.c_str(), link.c_str()) == 0 || (errno == EEXIST && LinkTarget(link) == name))
      return At(slot);
    if (errno != EEXIST) return ErrnoError("symlink", link);
  }
  return Error{CSB_E_NO_CAPACITY, "every uid of bubblewrap.uids is taken",
               "widen bubblewrap.uids, or purge users that are not needed any more", false};
}

Status UidPairs::Release(const std::string& name, UidPair pair) const {
  if (pair.agent < range_.first || pair.agent >= range_.first + range_.count) return {};
  const std::string link = folder_ + "/" + std::to_string((pair.agent - range_.first) / 2);
  if (LinkTarget(link) != name) return {};
  if (unlink(link.c_str()) != 0) return ErrnoError("unlink", link);
  return {};
}

}  // namespace csb::bwrap

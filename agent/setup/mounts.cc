// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/mounts.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "agent/base/proc_file.h"

namespace csb::agent {
namespace {

Error Failed(const std::string& what) {
  return {CSB_E_INTERNAL, what + ": " + strerror(errno),
          "--close-lxc needs CAP_SYS_ADMIN in the user namespace of the container", false};
}

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// Blanks and the like stand as \040.
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) &&
        IsOctal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool Has(std::string_view options, std::string_view wanted) {
  const std::string list = "," + std::string(options) + ",";
  return list.find("," + std::string(wanted) + ",") != std::string::npos;
}

bool IsNull(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3);
}

}  // namespace

std::vector<WritableMount> WritableMounts(std::string_view mountinfo, std::string_view type) {
  std::vector<WritableMount> out;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string_view> words = Words(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || dash == words.end() || dash + 1 == words.end() || dash[1] != type) continue;
    const std::string_view options = words[5];
    if (Has(options, "ro")) continue;
    WritableMount found{Unescaped(words[4]), 0};
    if (Has(options, "nosuid")) found.flags |= MS_NOSUID;
    if (Has(options, "nodev")) found.flags |= MS_NODEV;
    if (Has(options, "noexec")) found.flags |= MS_NOEXEC;
    out.push_back(std::move(found));
  }
  return out;
}

Status MakeMountsReadOnly(std::string_view type) {
  const auto mountinfo = ReadSmallFile("/proc/self/mountinfo");
  if (!mountinfo) return Failed("cannot read /proc/self/mountinfo");
  for (const WritableMount& each : WritableMounts(*mountinfo, type))
    if (mount(nullptr, each.path.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | each.flags, nullptr) <
        0)
      return Failed("cannot make " + each.path + " read-only");
  return {};
}

Status HideFiles(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    struct stat info;
    if (stat(path.c_str(), &info) < 0) {
      if (errno == ENOENT || errno == ENOTDIR) continue;
      return Failed("cannot look at " + path);
    }
    // An agent that comes after another finds it hidden.
    if (!IsNull(path) && mount("/dev/null", path.c_str(), nullptr, MS_BIND, nullptr) < 0)
      return Failed("cannot hide " + path);
  }
  return {};
}

}  // namespace csb::agent

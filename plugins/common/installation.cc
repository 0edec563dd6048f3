// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/installation.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"

namespace csb {
namespace {

constexpr size_t kHostId = 8;

Result<std::string> RandomHex(size_t digits) {
  unsigned char bytes[16];
  if (getrandom(bytes, digits / 2, 0) != static_cast<ssize_t>(digits / 2)) return ErrnoError("getrandom");
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < digits / 2; ++i) {
    out += kHex[bytes[i] >> 4];
    out += kHex[bytes[i] & 15];
  }
  return out;
}

bool IsHex(const std::string& text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

Result<std::string> InstallationId(const std::string& state_dir) {
  const std::string path = state_dir + "/installation";
  if (Status s = MakeFolders(state_dir, 0700); !s) return s.error();
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto text = ReadSmallFile(path);
    if (text && IsHex(*text, 16)) return text;
    if (text)
      return Error{
          CSB_E_INTERNAL, path + " holds no id",
          "restore it from a backup; without it containers and volumes made so far are not known any more",
          false};
    if (text.error().code != CSB_E_NOT_FOUND) return text.error();
    auto id = RandomHex(16);
    if (!id) return id.error();
    // Linked into place, so that of two hosts that start at once both take the same.
    const std::string mine = path + "." + *id;
    const UniqueFd fd(open(mine.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return ErrnoError("open", mine);
    const bool written =
        write(fd.get(), id->data(), id->size()) == static_cast<ssize_t>(id->size()) && fsync(fd.get()) == 0;
    const bool linked = written && (link(mine.c_str(), path.c_str()) == 0 || errno == EEXIST);
    const Error failed = ErrnoError("write", path);
    unlink(mine.c_str());
    if (!linked) return failed;
  }
  return Error{CSB_E_INTERNAL, path + " can't be made", "", false};
}

Result<HostMark> HostMark::Make(const std::string& hosts) {
  if (Status s = MakeFolders(hosts, 0711); !s) return s.error();
  for (int attempt = 0; attempt < 5; ++attempt) {
    auto id = RandomHex(kHostId);
    if (!id) return id.error();
    const std::string path = hosts + "/" + *id;
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return ErrnoError("open", path);
    // A sweep of another host may see it before it is locked, and remove it as a dead one's.
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    struct stat mine {
    }, current{};
    if (fstat(fd.get(), &mine) == 0 && stat(path.c_str(), &current) == 0 && mine.st_ino == current.st_ino)
      return HostMark(std::move(fd), *id, path);
  }
  return Error{CSB_E_INTERNAL, "no mark can be made in " + hosts, "", true};
}

HostMark::~HostMark() {
  if (fd_) unlink(path_.c_str());
}

bool HostAlive(const std::string& hosts, const std::string& id) {
  if (!IsHex(id, kHostId)) return false;
  const std::string path = hosts + "/" + id;
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return errno != ENOENT;
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return true;
  unlink(path.c_str());
  return false;
}

}  // namespace csb

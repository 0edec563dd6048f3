// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/folders.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/base/fd.h"
#include "agent/base/log.h"
#include "agent/base/proc_file.h"

namespace csb::agent {
namespace {

Error Failed(const std::string& what, std::string hint) {
  const int error = errno;
  return {CSB_E_IO, what + ": " + strerror(error), std::move(hint), false};
}

// 0 or an errno.
int MakeFolders(const std::string& path, mode_t last_mode) {
  for (size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at + 1);
    const bool last = at == std::string::npos || path.find_first_not_of('/', at) == std::string::npos;
    if (mkdir(path.substr(0, at).c_str(), last ? last_mode : 0755) < 0 && errno != EEXIST) return errno;
    if (last) break;
  }
  return 0;
}

// A handle that needs no right to the folder itself: without CAP_DAC_OVERRIDE root has none to somebody
// else's.
Fd OpenFolder(const std::string& path) {
  return Fd(open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// A name for an address that no interface has would fail servers that listen at all addresses of localhost.
bool HasLoopback6() {
  const Fd probe(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = IN6ADDR_LOOPBACK_INIT;
  return probe && bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Status MakeControlFolder(const std::string& path) {
  if ((errno = MakeFolders(path, 0700)) != 0)
    return Failed("cannot make " + path,
                  "--make-control needs a place that can be written to, such as a tmpfs at /run");
  const Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info;
  if (!folder || fstat(folder.get(), &info) < 0)
    return Failed("cannot use " + path, "--control needs a folder");
  if (info.st_uid != geteuid())
    return Error{CSB_E_IO, path + " belongs to uid " + std::to_string(info.st_uid),
                 "whoever can put a socket there controls the sandbox: name a folder that nothing else uses",
                 false};
  if ((info.st_mode & 0777) != 0700 && fchmod(folder.get(), 0700) < 0)
    return Failed("cannot close " + path + " to others", "");
  return {};
}

Status OwnWorkspace(const Identity& identity) {
  const std::string& path = identity.workspace;
  Fd folder = OpenFolder(path);
  if (!folder && errno == ENOENT) {
    if ((errno = MakeFolders(path, 0755)) != 0)
      return Failed("cannot make the workspace " + path, "mount a volume there, or make the root writable");
    folder = OpenFolder(path);
  }
  struct stat info;
  if (!folder || fstat(folder.get(), &info) < 0)
    return Failed("cannot use " + path + " as workspace",
                  "--workspace needs a folder, and not a link to one");
  if (!identity.separate || info.st_uid == identity.uid) return {};
  int error = fchownat(folder.get(), "", identity.uid, identity.gid, AT_EMPTY_PATH) < 0 ? errno : 0;
  if (error == EBADF) {  // a kernel that takes no handle for this, as older ones of gVisor
    const Fd opened(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    error = !opened || fchown(opened.get(), identity.uid, identity.gid) < 0 ? errno : 0;
  }
  if ((errno = error) != 0)
    return Failed("cannot give " + path + " to uid " + std::to_string(identity.uid),
                  "--own-workspace needs CAP_CHOWN and a file system that is writable and knows owners");
  return {};
}

void NameLoopback(const std::string& path) {
  const auto text = ReadSmallFile(path);
  if (text && !Trimmed(*text).empty()) return;
  std::string lines = "127.0.0.1\tlocalhost\n";
  if (HasLoopback6()) lines += "::1\tlocalhost ip6-localhost ip6-loopback\n";
  const Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file || write(file.get(), lines.data(), lines.size()) != static_cast<ssize_t>(lines.size()))
    Log("cannot write localhost to %s: %s", path.c_str(), strerror(errno));
}

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/files/paths.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>

#include "agent/files/task_io.h"

namespace csb::agent {

std::string_view LastName(std::string_view path) {
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string FolderOf(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  while (slash > 0 && path[slash - 1] == '/') --slash;
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

Result<Fd> OpenNearestFolder(const std::string& path, std::string* found) {
  std::string at = path;
  while (true) {
    Fd fd(open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    if (fd) {
      if (found != nullptr) *found = at;
      return fd;
    }
    if (errno == ENOTDIR)
      return Error{CSB_E_CONFLICT, "Not a directory: " + ForMessage(at),
                   "a file stands where a folder is needed", false};
    if (errno != ENOENT || at == "." || at == "/") return FromErrno(errno, "open", at);
    at = FolderOf(at);
  }
}

MadeFolders::~MadeFolders() {
  for (auto it = made_.rbegin(); it != made_.rend(); ++it) rmdir(it->c_str());
}

Result<Fd> MadeFolders::Make(const std::string& path) {
  for (size_t end = 0; end != std::string::npos && end < path.size();) {
    end = path.find('/', end + 1);
    const std::string prefix = path.substr(0, end);
    if (mkdir(prefix.c_str(), 0755) == 0) {
      made_.push_back(prefix);
      continue;
    }
    const int err = errno;
    struct stat st;
    if (stat(prefix.c_str(), &st) != 0)  // EEXIST and not there: a link that leads nowhere
      return FromErrno(err == EEXIST ? errno : err, "make the folder", prefix);
    if (!S_ISDIR(st.st_mode))
      return Error{CSB_E_CONFLICT, "Not a directory: " + ForMessage(prefix),
                   "a file stands where a folder is needed", false};
  }
  Fd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return FromErrno(errno, "open", path);
  return fd;
}

std::string TemporaryName(std::string_view prefix) {
  uint64_t random = 0;
  // Where there is no entropy the name is still unique by pid; O_EXCL does the rest.
  if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0) random = 0;
  char text[48];
  snprintf(text, sizeof text, "%d-%016llx", static_cast<int>(getpid()),
           static_cast<unsigned long long>(random));
  return std::string(prefix) + text;
}

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/seccomp.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/base/fd.h"

namespace csb::agent {
namespace {

constexpr char kHint[] = "--seccomp needs a file of 1 to 4096 struct sock_filter, made for this architecture";

Error Failed(const std::string& what) {
  const int error = errno;
  return {CSB_E_IO, what + ": " + strerror(error), kHint, false};
}

}  // namespace

Result<std::vector<sock_filter>> ReadSeccompProgram(const std::string& path) {
  // Nonblocking: a FIFO is refused below instead of being waited for.
  const Fd file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat info;
  if (!file || fstat(file.get(), &info) < 0) return Failed("cannot read the seccomp program " + path);
  const auto size = static_cast<size_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || size == 0 || size % sizeof(sock_filter) != 0 ||
      size > BPF_MAXINSNS * sizeof(sock_filter))
    return Error{CSB_E_INVALID, path + " is no seccomp program", kHint, false};
  std::vector<sock_filter> program(size / sizeof(sock_filter));
  for (size_t at = 0; at < size;) {
    const ssize_t n = read(file.get(), reinterpret_cast<char*>(program.data()) + at, size - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("cannot read the seccomp program " + path);
    if (n == 0) return Error{CSB_E_IO, path + " became shorter while it was read", kHint, true};
    at += static_cast<size_t>(n);
  }
  return program;
}

Status InstallSeccomp(std::vector<sock_filter>& program) {
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
    return Failed("the kernel does not take the seccomp program");
  return {};
}

}  // namespace csb::agent

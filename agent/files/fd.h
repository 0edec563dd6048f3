// SPDX-License-Identifier: Apache-2.0
//
// fd.h: owns one file descriptor.
//
//   Fd file(open(path, O_RDONLY | O_CLOEXEC));
//   if (!file) return FromErrno(errno, "open", path);
#pragma once

#include <unistd.h>

#include <utility>

namespace csb::agent {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { Reset(); }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void Reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

}  // namespace csb::agent

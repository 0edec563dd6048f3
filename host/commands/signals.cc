// SPDX-License-Identifier: Apache-2.0
#include "host/commands/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace csb::host {
namespace {

// Nothing can be run without these, and they fail only where the process has no file descriptors left.
int Require(int fd, const char* call) {
  if (fd >= 0) return fd;
  std::fprintf(stderr, "clara-sandbox: %s: %s; raise the limit of open files (ulimit -n)\n", call,
               std::strerror(errno));
  std::exit(1);
}

}  // namespace

SignalWaiter::SignalWaiter(bool resizes) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  if (resizes) sigaddset(&set, SIGWINCH);
  pthread_sigmask(SIG_BLOCK, &set, &before_);
  signals_ = Require(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
  wake_ = Require(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
}

SignalWaiter::~SignalWaiter() {
  close(signals_);
  close(wake_);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void SignalWaiter::Wake() noexcept {
  const uint64_t one = 1;
  // EAGAIN: the counter is full, so the waiter is awake already.
  while (write(wake_, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void SignalWaiter::Finish(int exit_code) noexcept {
  int running = kRunning;
  exit_code_.compare_exchange_strong(running, exit_code & 0xff);
  Wake();
}

std::optional<int> SignalWaiter::finished() const {
  const int code = exit_code_;
  return code == kRunning ? std::nullopt : std::optional(code);
}

int SignalWaiter::Wait(std::vector<pollfd>* extra) {
  std::vector<pollfd> fds = {{signals_, POLLIN, 0}, {wake_, POLLIN, 0}};
  if (extra != nullptr) fds.insert(fds.end(), extra->begin(), extra->end());
  while (poll(fds.data(), fds.size(), -1) < 0 && errno == EINTR) {
  }
  if (extra != nullptr)
    for (size_t i = 0; i < extra->size(); ++i) (*extra)[i].revents = fds[i + 2].revents;
  if (fds[1].revents != 0) {
    uint64_t count = 0;
    if (read(wake_, &count, sizeof count) < 0) count = 0;  // EAGAIN: nothing was there after all
  }
  signalfd_siginfo info{};
  if (fds[0].revents == 0 || read(signals_, &info, sizeof info) != static_cast<ssize_t>(sizeof info))
    return 0;
  const auto now = std::chrono::steady_clock::now();
  const int signal = static_cast<int>(info.ssi_signo);
  const bool again = signal != SIGWINCH && signal == last_ && now - last_at_ < std::chrono::milliseconds(500);
  last_ = signal;
  last_at_ = now;
  return again ? 0 : signal;
}

void PrepareProcess() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
      // The lowest free number is the one that is missing.
      if (open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) < 0) std::abort();
    }
  std::signal(SIGPIPE, SIG_IGN);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);  // refused nowhere: the hard limit is ours to use
  }
}

}  // namespace csb::host

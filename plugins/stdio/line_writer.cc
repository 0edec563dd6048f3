// SPDX-License-Identifier: Apache-2.0
#include "plugins/stdio/line_writer.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace csb::stdio {
namespace {

using Clock = std::chrono::steady_clock;

// Holds SIGPIPE back from this thread; one that a write raised is taken away (signal(7): it is
// directed at the thread that wrote). The process's disposition is the host's business.
class NoSigpipe {
 public:
  NoSigpipe() {
    struct sigaction now {};
    ignored_ = ::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
    if (ignored_) return;
    ::sigemptyset(&set_);
    ::sigaddset(&set_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &set_, &old_);
  }
  ~NoSigpipe() {
    if (ignored_) return;
    const int saved = errno;
    const timespec now{};
    if (!was_pending_)
      while (::sigtimedwait(&set_, nullptr, &now) < 0 && errno == EINTR) continue;
    ::pthread_sigmask(SIG_SETMASK, &old_, nullptr);
    errno = saved;
  }

 private:
  sigset_t set_, old_;
  bool ignored_ = false, was_pending_ = false;
};

bool Ready(int fd) {
  pollfd p{fd, POLLOUT, 0};
  return ::poll(&p, 1, 0) > 0;
}

}  // namespace

LineWriter::LineWriter(int fd, Handlers handlers)
    : fd_(fd), handlers_(std::move(handlers)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  struct stat info {};
  const bool known = ::fstat(fd, &info) == 0;
  kind_ = known && S_ISSOCK(info.st_mode)  ? Kind::kSocket
          : known && S_ISREG(info.st_mode) ? Kind::kFile
                                           : Kind::kOther;
  thread_ = std::thread([this] { Loop(); });
}

LineWriter::~LineWriter() { Finish(std::chrono::milliseconds(0)); }

bool LineWriter::WriteSome() {
  while (begin_ < queue_.size()) {
    const char* data = queue_.data() + begin_;
    const size_t size = queue_.size() - begin_;
    ssize_t n;
    if (kind_ == Kind::kSocket) {
      n = ::send(fd_, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
      // A pipe that polls ready takes PIPE_BUF bytes at once (pipe(7)), a terminal likewise.
      if (kind_ == Kind::kOther && !Ready(fd_)) break;
      const NoSigpipe guard;
      n = ::write(fd_, data, kind_ == Kind::kFile ? size : std::min<size_t>(size, PIPE_BUF));
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) {
      broken_ = true;
      queue_ = std::string();
      begin_ = 0;
      return false;
    }
    begin_ += static_cast<size_t>(n);
  }
  if (begin_ == queue_.size()) {
    if (queue_.capacity() > kLow)
      queue_ = std::string();
    else
      queue_.clear();
    begin_ = 0;
  } else if (begin_ > (size_t{256} << 10)) {
    queue_.erase(0, begin_);
    begin_ = 0;
  }
  return true;
}

void LineWriter::Write(std::string line) {
  const std::lock_guard lock(mu_);
  if (broken_ || finishing_) return;
  line += '\n';
  const bool idle = queue_.empty();
  if (idle)
    queue_ = std::move(line);
  else
    queue_.append(line);
  if (idle) WriteSome();
  if (queue_.size() - begin_ > kHigh) high_ = true;
  if (!queue_.empty() || broken_) changed_.notify_one();
}

size_t LineWriter::queued() const {
  const std::lock_guard lock(mu_);
  return queue_.size() - begin_;
}

void LineWriter::Loop() {
  std::unique_lock lock(mu_);
  for (;;) {
    changed_.wait(lock, [&] { return !queue_.empty() || finishing_ || (broken_ && !broken_told_); });
    if (broken_ && !broken_told_) {
      broken_told_ = true;
      lock.unlock();
      if (handlers_.on_broken) handlers_.on_broken();
      lock.lock();
      continue;
    }
    if (queue_.empty() && finishing_) return;
    int wait = -1;
    if (finishing_) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(finish_by_ - Clock::now()).count();
      if (left <= 0) return;
      wait = static_cast<int>(left);
    }
    const nfds_t count = finishing_ ? 1 : 2;
    lock.unlock();
    pollfd fds[2] = {{fd_, POLLOUT, 0}, {wake_.get(), POLLIN, 0}};
    ::poll(fds, count, wait);
    lock.lock();
    WriteSome();
    if (high_ && queue_.size() - begin_ < kLow) {
      high_ = false;
      lock.unlock();
      if (handlers_.on_low) handlers_.on_low();
      lock.lock();
    }
    if (queue_.empty() && !broken_ && handlers_.on_empty) {
      lock.unlock();
      handlers_.on_empty();
      lock.lock();
    }
  }
}

bool LineWriter::Finish(std::chrono::milliseconds limit) {
  {
    const std::lock_guard lock(mu_);
    if (!finishing_) {
      finishing_ = true;
      finish_by_ = Clock::now() + limit;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof one);
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  return queue_.empty();
}

}  // namespace csb::stdio

// SPDX-License-Identifier: Apache-2.0
#include "agent/bridge/pump.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include "agent/base/fd.h"

namespace csb::agent {
namespace {

constexpr size_t kBuffer = 256 << 10;
constexpr int kPipe = 1 << 20;
// For the last bytes, when one side has ended and the other does not take them.
constexpr int64_t kLastBytes = 2 * kSecond;

bool MayRetry() { return errno == EAGAIN || errno == EINTR; }

class Direction {
 public:
  Direction(int from, int to) : from_(from), to_(to) {}
  bool has_room() const { return !ended_ && end_ < kBuffer; }
  bool pending() const { return begin_ < end_; }
  bool ended() const { return ended_; }      // nothing more will come
  bool refused() const { return refused_; }  // nobody takes what came

  void Read() {
    const ssize_t n = read(from_, bytes_.get() + end_, kBuffer - end_);
    if (n > 0)
      end_ += static_cast<size_t>(n);
    else if (n == 0 || !MayRetry())
      ended_ = true;
  }

  // All that goes without waiting.
  void Write() {
    while (pending()) {
      const ssize_t n = write(to_, bytes_.get() + begin_, end_ - begin_);
      if (n < 0) {
        if (errno == EINTR) continue;
        refused_ = errno != EAGAIN;
        MakeRoom();
        return;
      }
      begin_ += static_cast<size_t>(n);
    }
    begin_ = end_ = 0;
  }

 private:
  // Moved at most once for half a buffer written, so that a slow reader costs little.
  void MakeRoom() {
    if (end_ < kBuffer || begin_ < kBuffer / 2) return;
    std::memmove(bytes_.get(), bytes_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }

  int from_, to_;
  // Untouched pages cost nothing, so the buffer of a quiet bridge stays small.
  std::unique_ptr<char[]> bytes_{new char[kBuffer]};
  size_t begin_ = 0, end_ = 0;
  bool ended_ = false, refused_ = false;
};

void Prepare(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  // Fewer turns for large transfers where it is a pipe and the system lets it grow.
  fcntl(fd, F_SETPIPE_SZ, kPipe);
}

}  // namespace

void Pump(int in, int out, int socket, int stop) {
  for (const int fd : {in, out, socket}) Prepare(fd);
  Direction up(in, socket);
  Direction down(socket, out);
  int64_t until = 0;
  for (;;) {
    const auto over = [](const Direction& one) { return one.refused() || (one.ended() && !one.pending()); };
    if (over(up) || over(down)) return;
    if (until == 0 && (up.ended() || down.ended())) until = NowNs() + kLastBytes;
    const int64_t left = until == 0 ? -1 : std::max<int64_t>((until - NowNs()) / kMs, 0);
    if (left == 0) return;
    const auto events = [](bool read, bool write) {
      return static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0));
    };
    const short wanted = events(down.has_room(), up.pending());
    // One that is not asked for anything is left out, as its hang-up would be reported for ever; but not
    // `out`, whose hang-up is the end.
    pollfd fds[] = {{up.has_room() ? in : -1, POLLIN, 0},
                    {out, events(false, down.pending()), 0},
                    {wanted != 0 ? socket : -1, wanted, 0},
                    {stop, POLLIN, 0}};
    if (poll(fds, 4, static_cast<int>(left)) < 0 && errno != EINTR) return;
    if (fds[3].revents != 0 || (fds[1].revents & (POLLERR | POLLNVAL)) != 0) return;
    if (fds[0].revents != 0 && up.has_room()) up.Read();
    if ((fds[2].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && down.has_room()) down.Read();
    up.Write();
    down.Write();
  }
}

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "host/commands/watchdog.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "clara_sandbox/operation.h"

namespace csb::host {
namespace {

constexpr char kHealth[] =
    R"({"status":"healthy","backends":{"a":{"available":true,"sandboxes":1},"b":{"available":false}}})";

// A service that answers from a thread of its own, as the host's does, and can be stuck.
class Stuck {
 public:
  Stuck() {
    table_.struct_size = sizeof table_;
    table_.self = reinterpret_cast<csb_service*>(this);
    table_.submit = [](csb_service* self, const csb_request* request, const csb_events* events, void* ctx,
                       csb_op** out, csb_error*) {
      return reinterpret_cast<Stuck*>(self)->Submit(*request, events, ctx, out);
    };
    static constexpr csb_op_calls kCalls = {
        sizeof(csb_op_calls), 0, nullptr, nullptr, nullptr, [](csb_op* op) {
          --reinterpret_cast<Stuck*>(op)->open_;
        }};
    table_.calls = &kCalls;
  }
  ~Stuck() {
    Hang(false);
    if (thread_.joinable()) thread_.join();
  }
  Stuck(const Stuck&) = delete;
  Stuck& operator=(const Stuck&) = delete;

  const csb_service_v1& table() const { return table_; }
  void Hang(bool hang) {
    std::lock_guard lock(mutex_);
    hangs_ = hang;
    changed_.notify_all();
  }
  int open() const { return open_; }
  int asked() const { return asked_; }

 private:
  csb_status Submit(const csb_request& request, const csb_events* events, void* ctx, csb_op** out) {
    EXPECT_EQ(request.op, static_cast<uint32_t>(CSB_OP_HEALTH));
    if (thread_.joinable()) thread_.join();
    ++open_;
    ++asked_;
    *out = reinterpret_cast<csb_op*>(this);
    thread_ = std::thread([this, events, ctx] {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !hangs_; });
      lock.unlock();
      const csb_outcome outcome{sizeof(csb_outcome), CSB_OK, 0, 0, Str(kHealth), {}, {}};
      events->on_done(ctx, &outcome);
    });
    return CSB_OK;
  }

  csb_service_v1 table_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool hangs_ = false;
  std::atomic<int> open_{0}, asked_{0};
  std::thread thread_;
};

class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest() {
    fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const std::string name = "@csb-watchdog-test-" + std::to_string(getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    address.sun_path[0] = 0;
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())),
              0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    setenv("WATCHDOG_USEC", "40000", 1);
    manager_ = ServiceManager::Take();
  }
  ~WatchdogTest() override { close(fd_); }

  // What comes within this time; "" for nothing.
  std::string Heard(int milliseconds = 10000) const {
    const timeval wait{milliseconds / 1000, milliseconds % 1000 * 1000};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    std::array<char, 256> text;
    const ssize_t n = recv(fd_, text.data(), text.size(), 0);
    return n < 0 ? "" : std::string(text.data(), static_cast<size_t>(n));
  }
  void Empty() const {
    std::array<char, 256> text;
    while (recv(fd_, text.data(), text.size(), MSG_DONTWAIT) > 0) {
    }
  }

  int fd_;
  ServiceManager manager_;
};

TEST_F(WatchdogTest, TellsAgainAndAgainThatTheServiceAnswers) {
  Timers timers;
  Stuck service;
  Watchdog watchdog(manager_, service.table(), timers);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Heard(), "WATCHDOG=1\nSTATUS=healthy; a: 1 sandbox; b: unavailable");
  watchdog.Stopping();
  EXPECT_EQ(service.open(), 0);
  timers.Stop();
}

TEST_F(WatchdogTest, IsSilentWhileTheServiceIsStuckThoughTheTimersRun) {
  Timers timers;
  Stuck service;
  Watchdog watchdog(manager_, service.table(), timers);
  EXPECT_NE(Heard(), "");
  service.Hang(true);
  int heard = 0;  // an answer may be on its way
  while (heard < 5 && !Heard(400).empty()) ++heard;
  EXPECT_LE(heard, 2) << "it speaks though nothing is answered";
  EXPECT_LE(service.open(), 1) << "it does not pile questions up";
  service.Hang(false);
  EXPECT_NE(Heard(), "") << "and speaks again when the service does";
  watchdog.Stopping();
  timers.Stop();
}

TEST_F(WatchdogTest, WhileTheServiceEndsTheTimersSpeak) {
  Timers timers;
  Stuck service;
  Watchdog watchdog(manager_, service.table(), timers);
  EXPECT_NE(Heard(), "");
  watchdog.Stopping();
  const int asked = service.asked();
  Empty();
  EXPECT_EQ(Heard(), "WATCHDOG=1");
  EXPECT_EQ(Heard(), "WATCHDOG=1");
  EXPECT_EQ(service.asked(), asked);
  timers.Stop();
}

TEST_F(WatchdogTest, NobodyAskedNobodyIsTold) {
  Timers timers;
  Stuck service;
  const Watchdog watchdog(ServiceManager(), service.table(), timers);
  EXPECT_EQ(timers.pending(), 0u);
  EXPECT_EQ(service.asked(), 0);
}

}  // namespace
}  // namespace csb::host

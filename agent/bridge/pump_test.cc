// SPDX-License-Identifier: Apache-2.0
#include "agent/bridge/pump.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "agent/base/fd.h"

namespace csb::agent {
namespace {

// A pump over pipes, as an engine gives them to an exec session.
class PumpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    Pipe(host_in_, in_);
    std::swap(host_in_, in_);
    Pipe(host_out_, out_);
    Pipe(stop_read_, stop_);
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    socket_.Reset(ends[0]);
    agent_.Reset(ends[1]);
  }
  void Start() {
    pump_ = std::thread([this] {
      Pump(in_.get(), out_.get(), socket_.get(), stop_read_.get());
      for (Fd* fd : {&in_, &out_, &socket_}) fd->Reset();
    });
  }
  void TearDown() override {
    stop_.Reset();
    if (pump_.joinable()) pump_.join();
  }
  static void Pipe(Fd& read_end, Fd& write_end) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end.Reset(ends[0]);
    write_end.Reset(ends[1]);
  }
  static bool WriteAll(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = write(fd, bytes.data(), bytes.size());
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  static std::string Read(int fd, size_t most = SIZE_MAX) {
    std::string text;
    char buffer[64 << 10];
    while (text.size() < most) {
      const ssize_t n = read(fd, buffer, std::min(sizeof buffer, most - text.size()));
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
    }
    return text;
  }
  static std::string Pattern(size_t size, unsigned seed) {
    std::string text(size, 0);
    for (char& c : text) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
    return text;
  }

  Fd host_in_, host_out_;  // the host writes to the first and reads the second
  Fd in_, out_, socket_, agent_, stop_read_, stop_;
  std::thread pump_;
};

TEST_F(PumpTest, CarriesBothDirectionsAtOnceUnchanged) {
  Start();
  const std::string up = Pattern(20 << 20, 1);
  const std::string down = Pattern(20 << 20, 2);
  std::thread host_writes([&] { EXPECT_TRUE(WriteAll(host_in_.get(), up)); });
  std::thread agent_writes([&] { EXPECT_TRUE(WriteAll(agent_.get(), down)); });
  std::string at_host;
  std::thread host_reads([&] { at_host = Read(host_out_.get(), down.size()); });
  const std::string at_agent = Read(agent_.get(), up.size());
  host_writes.join();
  agent_writes.join();
  host_reads.join();
  EXPECT_TRUE(at_agent == up);
  EXPECT_TRUE(at_host == down);
}

TEST_F(PumpTest, TheEndOfStdinIsTheEndAfterWhatHadCome) {
  ASSERT_TRUE(WriteAll(host_in_.get(), "last words"));
  host_in_.Reset();
  Start();
  EXPECT_EQ(Read(agent_.get()), "last words");
  pump_.join();
}

TEST_F(PumpTest, TheEndOfTheAgentIsTheEndAfterWhatHadCome) {
  ASSERT_TRUE(WriteAll(agent_.get(), "last words"));
  agent_.Reset();
  Start();
  EXPECT_EQ(Read(host_out_.get()), "last words");
  pump_.join();
}

TEST_F(PumpTest, ASlowHostStillGetsWhatCameBeforeTheEnd) {
  Start();
  ASSERT_TRUE(WriteAll(agent_.get(), "x"));
  ASSERT_EQ(Read(host_out_.get(), 1), "x");  // the pipe has its size by now
  const int pipe = fcntl(host_out_.get(), F_GETPIPE_SZ);
  ASSERT_GT(pipe, 0);
  const std::string text = Pattern(static_cast<size_t>(pipe) + 100'000, 4);
  ASSERT_TRUE(WriteAll(agent_.get(), text));
  int queued = 1;
  for (int i = 0; i < 5000 && ioctl(agent_.get(), SIOCOUTQ, &queued) == 0 && queued > 0; ++i) usleep(1000);
  EXPECT_EQ(queued, 0);
  agent_.Reset();
  pollfd hang_up{host_out_.get(), 0, 0};
  EXPECT_EQ(poll(&hang_up, 1, 50), 0);
  EXPECT_TRUE(Read(host_out_.get()) == text);
}

TEST_F(PumpTest, AHostThatReadsNoMoreIsTheEnd) {
  Start();
  host_out_.Reset();
  EXPECT_EQ(Read(agent_.get()), "");
  pump_.join();
}

TEST_F(PumpTest, ASignalIsTheEnd) {
  Start();
  stop_.Reset();
  EXPECT_EQ(Read(agent_.get()), "");
  pump_.join();
}

TEST_F(PumpTest, OneSideThatDoesNotReadHoldsUpNeitherTheOtherNorTheEnd) {
  Start();
  std::thread flood([&] { WriteAll(agent_.get(), std::string(8 << 20, 'x')); });  // nobody reads it
  const std::string up = Pattern(4 << 20, 3);
  std::thread host_writes([&] {
    EXPECT_TRUE(WriteAll(host_in_.get(), up));
    host_in_.Reset();
  });
  EXPECT_TRUE(Read(agent_.get(), up.size()) == up);
  host_writes.join();
  pump_.join();
  flood.join();
}

}  // namespace
}  // namespace csb::agent

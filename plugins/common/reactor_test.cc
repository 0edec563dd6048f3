// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/reactor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "plugins/common/pidfd.h"
#include "plugins/common/unique_fd.h"

namespace csb {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<Reactor> Make() {
  auto reactor = Reactor::Create("reactor-test");
  EXPECT_TRUE(reactor);
  return *std::move(reactor);
}

TEST(Reactor, RunsPostedWorkInOrderOnItsThread) {
  auto reactor = Make();
  std::vector<int> order;
  std::promise<bool> last;
  for (int i = 0; i < 100; ++i) reactor->Post([&order, i] { order.push_back(i); });
  reactor->Post([&] { last.set_value(reactor->OnThread()); });
  EXPECT_TRUE(last.get_future().get());
  EXPECT_FALSE(reactor->OnThread());
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(Reactor, WorkPostedBeforeTheEndStillRuns) {
  std::atomic<int> ran = 0;
  auto reactor = Make();
  Reactor* raw = reactor.get();
  raw->Post([&ran, raw] { raw->Post([&ran] { ++ran; }); });
  reactor.reset();
  EXPECT_EQ(ran, 1);
}

TEST(Reactor, TimersFireInOrderOfTimeAndNotEarly) {
  auto reactor = Make();
  const auto start = Reactor::Clock::now();
  std::promise<void> last;
  std::vector<int> order;
  reactor->At(start + 60ms, [&] {
    order.push_back(2);
    last.set_value();
  });
  reactor->At(start + 20ms, [&] { order.push_back(1); });
  const auto cancelled = reactor->At(start + 30ms, [&] { order.push_back(9); });
  EXPECT_TRUE(reactor->CancelTimer(cancelled));
  EXPECT_FALSE(reactor->CancelTimer(cancelled));
  last.get_future().wait();
  EXPECT_GE(Reactor::Clock::now() - start, 60ms);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Reactor, HandlerMayUnwatchItselfAndStaysAlive) {
  auto reactor = Make();
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  UniqueFd in(fds[0]), out(fds[1]);
  std::promise<int> called;
  std::atomic<Reactor::WatchId> id = 0;
  auto token = std::make_shared<int>(7);
  auto watch = reactor->Watch(in.get(), EPOLLIN, [&, token](uint32_t) {
    while (id == 0) std::this_thread::yield();
    reactor->Unwatch(id);
    called.set_value(*token);
  });
  ASSERT_TRUE(watch);
  std::weak_ptr<int> weak = token;
  token.reset();
  id = *watch;
  ASSERT_EQ(::write(out.get(), "x", 1), 1);
  EXPECT_EQ(called.get_future().get(), 7);
  reactor.reset();
  EXPECT_TRUE(weak.expired());
}

TEST(Pidfd, EndOfAChildIsAnEvent) {
  auto reactor = Make();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  auto child = Pidfd::Open(pid);
  ASSERT_TRUE(child);
  EXPECT_FALSE(child->Ended());
  EXPECT_FALSE(child->Reap());
  std::promise<void> ended;
  std::atomic<bool> once = false;
  ASSERT_TRUE(reactor->Watch(child->get(), EPOLLIN, [&](uint32_t) {
    if (!once.exchange(true)) ended.set_value();
  }));
  ASSERT_TRUE(child->Signal(SIGKILL));
  ended.get_future().wait();
  reactor.reset();
  auto exit = child->Reap();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, CLD_KILLED);
  EXPECT_EQ(exit->status, SIGKILL);
  EXPECT_TRUE(child->Signal(SIGKILL)) << "one that has ended is no error";
  EXPECT_EQ(Pidfd::Open(pid).error().code, CSB_E_NOT_FOUND);
}

}  // namespace
}  // namespace csb

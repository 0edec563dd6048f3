// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/reactor.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include "plugins/common/errno_error.h"
#include "plugins/common/unique_fd.h"

namespace csb {
namespace {

constexpr size_t kScratchSize = 256 << 10;
// What epoll hands back for the two descriptors of the reactor itself; watches count from 16.
constexpr uint64_t kWakeId = 1, kTimerId = 2, kFirstWatch = 16;

}  // namespace

struct Reactor::Impl {
  using Handler = std::function<void(uint32_t)>;
  struct WatchEntry {
    int fd;
    std::shared_ptr<Handler> handler;
  };
  using TimerKey = std::pair<Clock::time_point, TimerId>;

  UniqueFd epoll, wake, timer;
  std::unique_ptr<char[]> scratch{new char[kScratchSize]};
  std::atomic<std::thread::id> thread_id{};
  bool posted_here = false;  // by the loop's own thread, which needs no waking; that thread's

  std::mutex mu;
  std::unordered_map<WatchId, WatchEntry> watches;
  std::map<TimerKey, std::function<void()>> timers;
  std::unordered_map<TimerId, Clock::time_point> timer_times;
  Clock::time_point armed = Clock::time_point::max();  // what the timerfd is set to
  std::vector<std::function<void()>> posted;
  uint64_t next_id = kFirstWatch;
  bool stopping = false;
  std::thread thread;  // last: it uses all of the above

  void Wake() {
    const uint64_t one = 1;
    // The counter can only be full when a wake-up is pending anyway.
    [[maybe_unused]] const ssize_t n = ::write(wake.get(), &one, sizeof one);
  }

  // With mu held: sets the timerfd to the first timer. A timer that is taken away leaves it as it
  // was: one wake-up too many is cheaper than a system call for each operation that ends in time.
  void Arm() {
    if (timers.empty() || timers.begin()->first.first >= armed) return;
    armed = timers.begin()->first.first;
    auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(armed.time_since_epoch()).count();
    if (ns < 1) ns = 1;
    itimerspec spec{};
    spec.it_value.tv_sec = ns / 1'000'000'000;
    spec.it_value.tv_nsec = ns % 1'000'000'000;
    ::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
  }

  void RunTimers() {
    uint64_t expirations;
    [[maybe_unused]] const ssize_t n = ::read(timer.get(), &expirations, sizeof expirations);
    std::unique_lock lock(mu);
    armed = Clock::time_point::max();
    while (!timers.empty() && timers.begin()->first.first <= Clock::now()) {
      auto node = timers.extract(timers.begin());
      timer_times.erase(node.key().second);
      lock.unlock();
      node.mapped()();
      node.mapped() = nullptr;  // its captures may call back into here
      lock.lock();
    }
    Arm();
  }

  void RunPosted() {
    std::vector<std::function<void()>> work;
    posted_here = false;
    {
      std::lock_guard lock(mu);
      work.swap(posted);
    }
    for (auto& fn : work) {
      fn();
      fn = nullptr;
    }
  }

  void Loop() {
    thread_id = std::this_thread::get_id();
    epoll_event events[64];
    for (;;) {
      // Watches get their turn between two rounds of posts.
      const int n = ::epoll_wait(epoll.get(), events, 64, posted_here ? 0 : -1);
      for (int i = 0; i < n; ++i) {
        const uint64_t id = events[i].data.u64;
        if (id == kWakeId) {
          uint64_t count;
          [[maybe_unused]] const ssize_t got = ::read(wake.get(), &count, sizeof count);
          RunPosted();
        } else if (id == kTimerId) {
          RunTimers();
        } else {
          std::shared_ptr<Handler> handler;
          {
            std::lock_guard lock(mu);
            if (auto it = watches.find(id); it != watches.end()) handler = it->second.handler;
          }
          if (handler) (*handler)(events[i].events);
        }
      }
      if (posted_here) RunPosted();
      std::lock_guard lock(mu);
      if (stopping && posted.empty()) return;
    }
  }
};

Reactor::Reactor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Reactor>> Reactor::Create(const char* name) {
  auto impl = std::make_unique<Impl>();
  impl->epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!impl->epoll) return ErrnoError("epoll_create1");
  impl->wake = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->wake) return ErrnoError("eventfd");
  impl->timer = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!impl->timer) return ErrnoError("timerfd_create");
  for (const auto& [fd, id] : {std::pair{impl->wake.get(), kWakeId}, {impl->timer.get(), kTimerId}}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = id;
    if (::epoll_ctl(impl->epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoError("epoll_ctl");
  }
  Impl* raw = impl.get();
  try {
    impl->thread = std::thread([raw] { raw->Loop(); });
  } catch (const std::system_error& e) {
    return Error{CSB_E_IO, std::string("can't start the I/O thread: ") + e.what(),
                 "raise the limit of threads", true};
  }
  char cut[16] = {};
  std::strncpy(cut, name, sizeof cut - 1);
  ::pthread_setname_np(impl->thread.native_handle(), cut);
  return std::unique_ptr<Reactor>(new Reactor(std::move(impl)));
}

Reactor::~Reactor() {
  {
    std::lock_guard lock(impl_->mu);
    impl_->stopping = true;
  }
  impl_->Wake();
  impl_->thread.join();
}

Result<Reactor::WatchId> Reactor::Watch(int fd, uint32_t events, std::function<void(uint32_t)> handler) {
  std::lock_guard lock(impl_->mu);
  const WatchId id = impl_->next_id++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoError("epoll_ctl");
  impl_->watches.emplace(id, Impl::WatchEntry{fd, std::make_shared<Impl::Handler>(std::move(handler))});
  return id;
}

void Reactor::Change(WatchId id, uint32_t events) {
  std::lock_guard lock(impl_->mu);
  auto it = impl_->watches.find(id);
  if (it == impl_->watches.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  ::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_MOD, it->second.fd, &event);
}

void Reactor::Unwatch(WatchId id) {
  Impl::WatchEntry gone{-1, nullptr};  // outlives the lock: its captures may call back into here
  std::lock_guard lock(impl_->mu);
  auto it = impl_->watches.find(id);
  if (it == impl_->watches.end()) return;
  gone = std::move(it->second);
  impl_->watches.erase(it);
  ::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_DEL, gone.fd, nullptr);
}

Reactor::TimerId Reactor::At(Clock::time_point when, std::function<void()> fn) {
  std::lock_guard lock(impl_->mu);
  const TimerId id = impl_->next_id++;
  impl_->timers.emplace(Impl::TimerKey{when, id}, std::move(fn));
  impl_->timer_times.emplace(id, when);
  impl_->Arm();
  return id;
}

bool Reactor::CancelTimer(TimerId id) {
  std::function<void()> gone;  // outlives the lock, as above
  std::lock_guard lock(impl_->mu);
  auto it = impl_->timer_times.find(id);
  if (it == impl_->timer_times.end()) return false;
  auto timer = impl_->timers.find({it->second, id});
  gone = std::move(timer->second);
  impl_->timers.erase(timer);
  impl_->timer_times.erase(it);
  return true;
}

void Reactor::Post(std::function<void()> fn) {
  bool first;
  {
    std::lock_guard lock(impl_->mu);
    first = impl_->posted.empty();
    impl_->posted.push_back(std::move(fn));
  }
  if (OnThread())
    impl_->posted_here = true;
  else if (first)
    impl_->Wake();
}

bool Reactor::OnThread() const { return impl_->thread_id.load() == std::this_thread::get_id(); }

Reactor::Scratch Reactor::scratch() { return {impl_->scratch.get(), kScratchSize}; }

}  // namespace csb

// SPDX-License-Identifier: Apache-2.0
#include "agent/base/loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/base/log.h"

namespace csb::agent {

Loop::Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

int Loop::Timeout() const {
  if (!deferred_.empty()) return 0;
  if (timers_.empty()) return -1;
  const int64_t left = timers_.begin()->first - NowNs();
  if (left <= 0) return 0;
  // Rounded up, or the last millisecond would spin.
  return static_cast<int>(std::min<int64_t>((left + kMs - 1) / kMs, 60'000));
}

void Loop::RunOnce() {
  epoll_event events[64];
  const int count = epoll_wait(epoll_.get(), events, 64, Timeout());
  for (int i = 0; i < count; ++i) {
    const auto slot = static_cast<uint32_t>(events[i].data.u64);
    const auto generation = static_cast<uint32_t>(events[i].data.u64 >> 32);
    // An earlier callback of this round may have stopped the watch and given its slot away.
    if (slots_[slot].watch == nullptr || slots_[slot].generation != generation) continue;
    Watch* watch = slots_[slot].watch;
    if (watch->events_ != 0) watch->callback_(events[i].events);
  }
  while (!timers_.empty() && timers_.begin()->first <= NowNs()) {
    Timer* timer = timers_.begin()->second;
    timer->Cancel();
    timer->callback_();
  }
  while (!deferred_.empty()) {
    std::vector<std::function<void()>> work;
    work.swap(deferred_);
    for (auto& one : work) one();
  }
}

void Loop::Run() {
  while (!stopped_) RunOnce();
}

bool Watch::Start(Loop& loop, int fd, uint32_t events, Callback callback) {
  Stop();
  uint32_t slot;
  if (loop.free_.empty()) {
    slot = static_cast<uint32_t>(loop.slots_.size());
    loop.slots_.emplace_back();
  } else {
    slot = loop.free_.back();
    loop.free_.pop_back();
  }
  loop.slots_[slot].watch = this;
  loop_ = &loop;
  fd_ = fd;
  slot_ = slot;
  events_ = 0;
  callback_ = std::move(callback);
  errno = 0;
  Set(events);
  if (events_ == events) return true;
  Stop();
  return false;
}

void Watch::Set(uint32_t events) {
  if (loop_ == nullptr || events == events_) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = slot_ | static_cast<uint64_t>(loop_->slots_[slot_].generation) << 32;
  const int action = events_ == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  if (epoll_ctl(loop_->epoll_.get(), action, fd_, &event) == 0)
    events_ = events;
  else
    Log("epoll_ctl of descriptor %d: %s", fd_, strerror(errno));
}

void Watch::Stop() {
  if (loop_ == nullptr) return;
  Set(0);
  loop_->slots_[slot_].watch = nullptr;
  ++loop_->slots_[slot_].generation;
  loop_->free_.push_back(slot_);
  loop_ = nullptr;
}

void Timer::Arm(int64_t at_ns) {
  Cancel();
  at_ = at_ns > 0 ? at_ns : 1;
  loop_.timers_.insert({at_, this});
}

void Timer::Cancel() {
  if (at_ == 0) return;
  loop_.timers_.erase({at_, this});
  at_ = 0;
}

}  // namespace csb::agent

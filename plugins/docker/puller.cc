// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/puller.h"

#include <atomic>

namespace csb::docker {
namespace {

constexpr std::chrono::milliseconds kPause{60'000};  // between two words of the engine

}  // namespace

std::shared_ptr<Puller::One> Puller::Join(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto& one = running_[name];
  if (one != nullptr) {
    const std::lock_guard its(one->mutex);
    if (!one->done) return one;
  }
  one = std::make_shared<One>();
  engine_.StartPull(
      name,
      [one = one](const std::string& line) {
        const std::lock_guard its(one->mutex);
        one->said = line;
        ++one->lines;
        one->changed.notify_all();
      },
      kPause,
      [one = one](const Status& result) {
        const std::lock_guard its(one->mutex);
        one->result = result;
        one->done = true;
        one->changed.notify_all();
      });
  return one;
}

Status Puller::Pull(const std::string& name, const Conversation& talk, std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  const auto one = Join(name);
  const auto given_up = std::make_shared<std::atomic<bool>>(false);
  talk.when_cancelled([one, given_up] {
    const std::lock_guard its(one->mutex);
    *given_up = true;
    one->changed.notify_all();
  });
  std::unique_lock lock(one->mutex);
  for (uint64_t told = 0;;) {
    const bool news =
        one->changed.wait_until(lock, until, [&] { return one->done || *given_up || one->lines != told; });
    if (one->done) return one->result;
    if (*given_up)
      return Error{CSB_E_CANCELLED, "cancelled while " + name + " is pulled; that goes on", "", true};
    if (!news)
      return Error{CSB_E_UNAVAILABLE, "the image " + name + " is still being pulled (" + one->said + ")",
                   "try again in a while: the pull goes on", true};
    told = one->lines;
    const std::string line = one->said;
    lock.unlock();
    talk.progress(line);
    lock.lock();
  }
}

}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/post_limit.h"

#include <exception>
#include <utility>

namespace csb {

Status PostLimit::Post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (running_ == most_) {
      waiting_.push_back(std::move(work));
      return {};
    }
    ++running_;
  }
  const Status posted = host_.Post([self = shared_from_this(), work = std::move(work)] { self->Run(work); });
  if (!posted) {
    const std::lock_guard lock(mutex_);
    --running_;
  }
  return posted;
}

void PostLimit::Run(std::function<void()> work) {
  for (;;) {
    try {
      work();
    } catch (const std::exception& e) {
      host_.LogError(e.what());
    } catch (...) {
      host_.LogError("an exception of unknown type left posted work");
    }
    work = nullptr;  // what it holds goes before the next begins
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) {
      --running_;
      return;
    }
    work = std::move(waiting_.front());
    waiting_.pop_front();
  }
}

}  // namespace csb

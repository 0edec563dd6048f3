// SPDX-License-Identifier: Apache-2.0
//
// lost_sandboxes.h: sandboxes that have ended, until a job of the registry sees to them. They are held here
// and not by the job: a host may let go of a job, run or not, when the reactor that a sandbox needs is gone.
//
//   InBackground([lost = lost_.Add(sandbox)](Registry& registry) {
//     if (const auto sandbox = registry.lost_.Take(lost)) …
//   });
//   Registry::~Registry() { line_->Cut(); lost_.DetachAll(); … }
//
// Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <utility>

namespace csb {

template <typename Sandbox>
class LostSandboxes {
 public:
  std::weak_ptr<Sandbox> Add(std::shared_ptr<Sandbox> sandbox) {
    std::weak_ptr<Sandbox> out = sandbox;
    const std::lock_guard lock(mutex_);
    held_.insert(std::move(sandbox));
    return out;
  }
  // Null: DetachAll came first.
  std::shared_ptr<Sandbox> Take(const std::weak_ptr<Sandbox>& lost) {
    auto sandbox = lost.lock();
    const std::lock_guard lock(mutex_);
    return sandbox && held_.erase(sandbox) > 0 ? sandbox : nullptr;
  }
  void DetachAll() {
    std::set<std::shared_ptr<Sandbox>> held;
    {
      const std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    for (const auto& sandbox : held) sandbox->Detach();
  }

 private:
  std::mutex mutex_;
  std::set<std::shared_ptr<Sandbox>> held_;
};

}  // namespace csb

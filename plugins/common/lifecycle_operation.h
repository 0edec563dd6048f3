// SPDX-License-Identifier: Apache-2.0
//
// lifecycle_operation.h: an operation on a worker's thread that makes or ends a sandbox. It can be told to
// stop where it waits for something long; its other steps are short.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "clara_sandbox/cpp/backend.h"
#include "clara_sandbox/cpp/json.h"

namespace csb {

class LifecycleOperation : public Operation {
 public:
  void Cancel(csb_status) override {
    std::function<void()> tell;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      tell = std::move(tell_);
    }
    if (tell) tell();
  }
  void WhenCancelled(std::function<void()> tell) {
    {
      const std::lock_guard lock(mutex_);
      if (!cancelled_) {
        tell_ = std::move(tell);
        return;
      }
    }
    tell();
  }

 private:
  std::mutex mutex_;
  bool cancelled_ = false;
  std::function<void()> tell_;
};

// The payload of CSB_EVENT_PROGRESS.
inline std::string ProgressEvent(const std::string& message) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "message", message);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace csb

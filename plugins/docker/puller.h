// SPDX-License-Identifier: Apache-2.0
//
// puller.h: images on their way from a registry. One pull of an image at a time, whoever waits for it; it
// goes on when they do not, since an engine starts a layer anew that was cut off.
//
//   Puller puller(engine);
//   Status there = puller.Pull("python:3.12-slim", talk, 45s);
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "plugins/common/conversation.h"
#include "plugins/docker/engine.h"

namespace csb::docker {

class Puller {
 public:
  explicit Puller(Engine& engine) : engine_(engine) {}

  // Blocks until the image is there, the caller gives up (CSB_E_CANCELLED), or `patience` is over:
  // CSB_E_UNAVAILABLE, retryable, with how far it is. Thread-safe.
  Status Pull(const std::string& name, const Conversation& talk, std::chrono::milliseconds patience);

 private:
  struct One {
    std::mutex mutex;
    std::condition_variable changed;
    std::string said;
    uint64_t lines = 0;
    bool done = false;
    Status result;
  };
  std::shared_ptr<One> Join(const std::string& name);

  Engine& engine_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<One>> running_;
};

}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
//
// conversation.h: what a lifecycle operation can tell its caller while it works, and be told.
//
//   talk.progress("pulling python:3.12-slim");
//   talk.when_cancelled([&] { … });
#pragma once

#include <functional>
#include <string>

namespace csb {

struct Conversation {
  std::function<void(const std::string&)> progress = [](const std::string&) {};
  // Has its argument called once the caller gives up; at once if that was before.
  std::function<void(std::function<void()>)> when_cancelled = [](const std::function<void()>&) {};
};

}  // namespace csb

// SPDX-License-Identifier: Apache-2.0
//
// background_table.h: what runs in the background, and what has ended and is still remembered, by handle.
//
//   BackgroundTable table(loop, [&] { … the last of them has ended … });
//   Background& run = table.Add(std::make_unique<Program>(…));
//   Background* found = table.Find("p_0123…");
//   table.Remove(*found);    // killed if it runs, forgotten
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/background/background.h"

namespace csb::agent {

class BackgroundTable {
 public:
  static constexpr size_t kMaxRunning = 128;
  static constexpr size_t kMaxEnded = 64;
  static constexpr size_t kMaxKept = 32 << 20;  // bytes of output of those that have ended

  BackgroundTable(Loop& loop, std::function<void()> emptied);

  // One that nobody can guess; empty: the kernel has no random numbers.
  static std::string NewHandle();
  bool full() const;
  Background& Add(std::unique_ptr<Background> run);
  Background* Find(std::string_view handle);
  std::string List() const;  // JSON: {"processes":[…]}
  void Remove(Background& run);
  // Ends all; `emptied` follows if any ran.
  void EndAll();
  size_t running() const;
  // Forgets what is over and followed by nobody any more.
  void Tidy();

 private:
  void OnEnded();

  Loop& loop_;
  std::function<void()> emptied_;
  std::vector<std::unique_ptr<Background>> runs_;     // oldest first
  std::vector<std::unique_ptr<Background>> removed_;  // until they have ended and nobody follows them
};

}  // namespace csb::agent

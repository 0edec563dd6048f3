// SPDX-License-Identifier: Apache-2.0
#include "agent/background/background_table.h"

#include <sys/random.h>

#include <algorithm>

namespace csb::agent {

BackgroundTable::BackgroundTable(Loop& loop, std::function<void()> emptied)
    : loop_(loop), emptied_(std::move(emptied)) {}

std::string BackgroundTable::NewHandle() {
  unsigned char bytes[12];
  if (getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes)) return {};
  std::string handle = "p_";
  for (const unsigned char byte : bytes) {
    handle += "0123456789abcdef"[byte >> 4];
    handle += "0123456789abcdef"[byte & 15];
  }
  return handle;
}

size_t BackgroundTable::running() const {
  size_t count = 0;
  for (const auto* list : {&runs_, &removed_})
    for (const auto& run : *list) count += run->ended() ? 0 : 1;
  return count;
}

bool BackgroundTable::full() const { return running() >= kMaxRunning; }

Background& BackgroundTable::Add(std::unique_ptr<Background> run) {
  Background& added = *run;
  added.on_end = [this] { OnEnded(); };
  runs_.push_back(std::move(run));
  return added;
}

Background* BackgroundTable::Find(std::string_view handle) {
  for (const auto& run : runs_)
    if (run->handle() == handle) return run.get();
  return nullptr;
}

std::string BackgroundTable::List() const {
  std::string text = R"({"processes":[)";
  for (const auto& run : runs_) {
    if (text.back() != '[') text += ',';
    text += run->Info();
  }
  return text + "]}";
}

void BackgroundTable::Remove(Background& run) {
  const auto found =
      std::find_if(runs_.begin(), runs_.end(), [&](const auto& one) { return one.get() == &run; });
  if (found == runs_.end()) return;
  removed_.push_back(std::move(*found));
  runs_.erase(found);
  run.Kill(Background::Cause::kRemoved);
  OnEnded();
}

void BackgroundTable::EndAll() {
  for (const auto& run : runs_) run->Kill(Background::Cause::kCancelled);
}

void BackgroundTable::OnEnded() {
  // Its own callbacks are still on the stack.
  loop_.Defer([this] {
    Tidy();
    if (running() == 0) emptied_();
  });
}

void BackgroundTable::Tidy() {
  std::erase_if(removed_, [](const auto& run) { return run->ended() && !run->followed(); });
  size_t ended = 0, kept = 0;
  for (const auto& run : runs_)
    if (run->ended()) {
      ++ended;
      kept += run->log().size();
    }
  // The one that just ended is the last to go, however much it printed.
  for (auto it = runs_.begin(); it != runs_.end() && ended > 1 && (ended > kMaxEnded || kept > kMaxKept);) {
    if (!(*it)->ended() || (*it)->followed()) {
      ++it;
      continue;
    }
    --ended;
    kept -= (*it)->log().size();
    it = runs_.erase(it);
  }
}

}  // namespace csb::agent

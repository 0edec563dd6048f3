// SPDX-License-Identifier: Apache-2.0
#include "agent/python/context_table.h"

#include <algorithm>

#include "agent/base/instant.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::agent {
namespace {

// Each is an interpreter of 10 MB and more.
constexpr size_t kMaxContexts = 16;
constexpr size_t kMaxWaiting = 64;

}  // namespace

ContextTable::ContextTable(Loop& loop, SupervisorPool& pool, const CommandSettings& settings,
                           std::function<void()> emptied)
    : loop_(loop), pool_(pool), settings_(settings), emptied_(std::move(emptied)) {}

void ContextTable::Enter(const std::string& name, ContextWaiter& waiter) {
  const auto refuse = [&](Error error) {
    loop_.Defer([&waiter, error = std::move(error)] { waiter.OnNoTurn(error); });
  };
  if (ending_) return refuse({CSB_E_GONE, "the sandbox is ending", "", true});
  const auto found = contexts_.find(name);
  if (found == contexts_.end() && contexts_.size() >= kMaxContexts)
    return refuse({CSB_E_NO_CAPACITY,
                   "context " + name + ": this sandbox has " + std::to_string(kMaxContexts) +
                       " contexts, which is the most",
                   "delete one that is not needed any more, or use one that is there", false});
  Entry& entry = found != contexts_.end() ? found->second : contexts_[name];
  if (entry.waiting.size() >= kMaxWaiting)
    return refuse({CSB_E_NO_CAPACITY, "context " + name + ": too many executions wait for it", "wait", true});
  entry.waiting.push_back(&waiter);
  loop_.Defer([this, name] { Pump(name); });
}

void ContextTable::Leave(ContextWaiter& waiter) {
  for (auto& [name, entry] : contexts_) std::erase(entry.waiting, &waiter);
}

void ContextTable::Next(const Context& context) {
  const auto found = contexts_.find(context.name());
  if (found == contexts_.end() || found->second.context.get() != &context) return;
  found->second.taken = false;
  loop_.Defer([this, name = context.name()] { Pump(name); });
}

void ContextTable::Pump(const std::string& name) {
  const auto found = contexts_.find(name);
  if (found == contexts_.end()) return;
  Entry& entry = found->second;
  if (entry.taken || entry.waiting.empty()) {
    // A name that nothing came of: the interpreter could not be started, or who wanted it has left.
    if (!entry.taken && !entry.context && entry.lost.empty()) contexts_.erase(found);
    return;
  }
  // OnDied comes back here once it is over.
  if (entry.context && !entry.context->end().empty()) return;
  ContextWaiter& waiter = *entry.waiting.front();
  entry.waiting.pop_front();
  if (!entry.context) {
    auto context = std::make_unique<Context>(loop_, pool_, name, std::function<void()>());
    Context* raw = context.get();
    context->set_died([this, raw] { OnDied(raw); });
    if (auto started = context->Start(settings_); !started) {
      loop_.Defer([this, name] { Pump(name); });
      return waiter.OnNoTurn(started.error());
    }
    entry.context = std::move(context);
    entry.fresh = true;
  }
  entry.taken = true;
  const bool fresh = std::exchange(entry.fresh, false);
  waiter.OnTurn(*entry.context, fresh, std::exchange(entry.lost, std::string()));
}

bool ContextTable::Delete(const std::string& name) {
  const auto found = contexts_.find(name);
  if (found == contexts_.end()) return false;
  Entry& entry = found->second;
  const bool there = entry.context != nullptr;
  if (entry.context) {
    entry.context->Kill("it was deleted");
    dying_.push_back(std::move(entry.context));
  }
  entry.taken = false;
  entry.lost.clear();
  loop_.Defer([this, name] { Pump(name); });
  return there;
}

void ContextTable::OnDied(Context* gone) {
  loop_.Defer([this, gone] {
    std::erase_if(dying_, [&](const auto& one) { return one.get() == gone; });
    for (auto& [name, entry] : contexts_)
      if (entry.context.get() == gone) {
        entry.lost = gone->end();
        entry.context.reset();
        entry.taken = false;
        Pump(name);
        break;
      }
    if (ending_ && !std::any_of(contexts_.begin(), contexts_.end(),
                                [](const auto& one) { return one.second.context != nullptr; })) {
      contexts_.clear();
      if (dying_.empty()) emptied_();
    }
  });
}

std::string ContextTable::List() const {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "contexts");
  w.StartArray();
  for (const auto& [name, entry] : contexts_) {
    if (!entry.context) continue;
    const Context& context = *entry.context;
    w.StartObject();
    json::Member(w, "name", name);
    json::Member(w, "state", context.busy() ? "busy" : "idle");
    json::Member(w, "created_at", Instant(context.created_ms()));
    json::Member(w, "last_used", Instant(context.used_ms()));
    json::Member(w, "executions", context.executions());
    json::Member(w, "memory", context.memory());
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

void ContextTable::EndAll() {
  ending_ = true;
  for (auto it = contexts_.begin(); it != contexts_.end();) {
    Entry& entry = it->second;
    for (ContextWaiter* waiter : std::exchange(entry.waiting, {}))
      waiter->OnNoTurn({CSB_E_GONE, "the sandbox is ending", "", true});
    if (entry.context)
      (it++)->second.context->Kill("the sandbox has ended");
    else
      it = contexts_.erase(it);
  }
}

}  // namespace csb::agent

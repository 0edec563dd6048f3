// SPDX-License-Identifier: Apache-2.0
//
// context_table.h: the sandbox's interpreters that keep their state, by name. Executions of one name wait for
// each other; one that has died is followed by a fresh one, whose first answer says so.
//
//   ContextTable contexts(loop, pool, settings, [&] { … all have ended … });
//   if (auto taken = contexts.Enter("default", waiter); !taken) return taken.error();
//   … waiter.OnTurn(context, how) once it may begin; Leave(waiter) to give up before
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/python/context.h"

namespace csb::agent {

// Somebody who waits for a context's turn.
class ContextWaiter {
 public:
  virtual ~ContextWaiter() = default;
  // `lost`: why the one of that name before is gone; empty: there was none, or it goes on.
  virtual void OnTurn(Context& context, bool fresh, const std::string& lost) = 0;
  virtual void OnNoTurn(const Error& error) = 0;
};

class ContextTable {
 public:
  ContextTable(Loop& loop, SupervisorPool& pool, const CommandSettings& settings,
               std::function<void()> emptied);

  // OnTurn comes after this round of the loop at the earliest.
  void Enter(const std::string& name, ContextWaiter& waiter);
  void Leave(ContextWaiter& waiter);
  // The turn's execution has ended.
  void Next(const Context& context);
  // False: none of that name. What runs in it ends as killed.
  bool Delete(const std::string& name);
  std::string List() const;  // JSON: {"contexts":[…]}
  // Ends all; `emptied` follows if there were any.
  void EndAll();
  bool empty() const { return contexts_.empty() && dying_.empty(); }

 private:
  struct Entry {
    std::unique_ptr<Context> context;
    std::deque<ContextWaiter*> waiting;
    std::string lost;
    bool fresh = true;
    bool taken = false;
  };
  void Pump(const std::string& name);
  void OnDied(Context* gone);

  Loop& loop_;
  SupervisorPool& pool_;
  const CommandSettings& settings_;
  std::function<void()> emptied_;
  std::map<std::string, Entry> contexts_;
  std::vector<std::unique_ptr<Context>> dying_;  // deleted, not over yet
  bool ending_ = false;
};

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
//
// slot.h: the memory of guarded operations. Slots are reused but never freed, and a plugin gets
// a ticket (slot number, generation, backend number in 64 bits) instead of a pointer: a
// callback with a ticket of an operation that is over finds no slot, whatever it comes from.
//
//   Slot* slot = Slots::Get().Take(backend_id);      // one reference
//   void* ctx = slot->ticket();                      // for the plugin
//   if (Slot* same = Slots::Get().Hold(ctx)) { …; Slots::Get().Let(same); }
//
// The last Let closes the backend's handle, in the backend's lane (registry.h), and returns the slot.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include "clara_sandbox/operation.h"
#include "host/base/timers.h"
#include "host/plugin/guarded_operation.h"

namespace csb::host::guard {

struct Slot {
  // generation << 32 | references; no references: free.
  std::atomic<uint64_t> life{0};
  uint32_t index = 0;
  uint32_t backend_id = 0;

  // Set by Submit, constant until the slot is returned.
  const csb_op_calls* calls = nullptr;
  const csb_events* events = nullptr;  // the submitter's
  void* ctx = nullptr;
  Timers* timers = nullptr;
  GuardTimes times;
  uint32_t op_id = 0;    // CSB_OP_*
  csb_op* op = nullptr;  // written by the plugin during submit

  std::atomic<bool> accepted{false};      // submit returned CSB_OK: `op` may be used
  std::atomic<bool> backend_done{false};  // the backend called on_done
  std::atomic<bool> broken{false};        // broke the contract: what follows is dropped
  std::atomic<bool> in_callback{false};   // the backend is in a callback
  std::atomic<csb_status> cancel_cause{CSB_OK};

  std::atomic<uint64_t> output_credit{0};   // that the backend may use
  std::atomic<uint64_t> input_credit{0};    // that the submitter may use
  std::atomic<uint64_t> credit_to_pass{0};  // given by the submitter, not yet passed to the backend
  std::atomic<bool> eof_to_pass{false};     // the submitter's input ended before submit returned
  std::atomic<uint64_t> input_to_pass{0};   // granted by the backend, not yet told to the submitter

  // Held while the submitter is called; `told` under it: the submitter hears nothing more.
  std::mutex callback;
  std::atomic<std::thread::id> callback_thread{};
  bool told = false;
  bool heard = false;  // the submitter got some callback

  std::mutex timer_mutex;
  Timers::Id timer = 0;

  void* ticket() const;
};

class Slots {
 public:
  static Slots& Get();

  Slot* Take(uint32_t backend_id);  // null: a million operations are under way
  Slot* Hold(void* ticket);         // null: that operation is over
  void Hold(Slot* slot) { slot->life.fetch_add(1, std::memory_order_relaxed); }  // of a slot that is held
  void Let(Slot* slot);
  // The same from inside a callback: the thread is the backend's own, so the handle is closed here.
  void LetInCallback(Slot* slot);

  static uint32_t BackendOf(void* ticket);

 private:
  static constexpr uint32_t kChunk = 1024;
  static constexpr uint32_t kChunks = 1024;
  static constexpr uint32_t kGenerations = 1u << 30;
  struct Chunk {
    std::array<Slot, kChunk> slots;
  };
  Slots() = default;
  // true: the reference was the last.
  static bool Drop(Slot* slot) {
    return (slot->life.fetch_sub(1, std::memory_order_acq_rel) & 0xFFFFFFFF) == 1;
  }
  void Return(Slot* slot);

  std::array<std::atomic<Chunk*>, kChunks> chunks_{};
  std::mutex mutex_;
  std::deque<Slot*> free_;  // first in, first out: a slot rests long before it is used again
  uint32_t chunk_count_ = 0;
};

}  // namespace csb::host::guard

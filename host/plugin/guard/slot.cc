// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/guard/slot.h"

#include "clara_sandbox/cpp/detail/op_state.h"
#include "host/plugin/call.h"
#include "host/plugin/guard/registry.h"

namespace csb::host::guard {

namespace {

// Ticket: generation (30 bits), backend (14), slot (20). Never 0: generations start at 1.
constexpr int kSlotBits = 20;
constexpr int kBackendBits = 14;

uint64_t Bits(void* ticket) { return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(ticket)); }

}  // namespace

static_assert(sizeof(void*) == 8, "a ticket needs 64 bits");

void* Slot::ticket() const {
  const uint64_t generation = life.load(std::memory_order_relaxed) >> 32;
  return reinterpret_cast<void*>(static_cast<uintptr_t>(
      generation << (kSlotBits + kBackendBits) | static_cast<uint64_t>(backend_id) << kSlotBits | index));
}

Slots& Slots::Get() {
  static auto* slots = new Slots;
  return *slots;
}

uint32_t Slots::BackendOf(void* ticket) {
  return static_cast<uint32_t>(Bits(ticket) >> kSlotBits) & ((1u << kBackendBits) - 1);
}

Slot* Slots::Take(uint32_t backend_id) {
  Slot* slot = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      if (chunk_count_ == kChunks) return nullptr;
      auto* chunk = new Chunk;
      for (uint32_t i = 0; i < kChunk; ++i) {
        chunk->slots[i].index = chunk_count_ * kChunk + i;
        free_.push_back(&chunk->slots[i]);
      }
      chunks_[chunk_count_++].store(chunk, std::memory_order_release);
    }
    slot = free_.front();
    free_.pop_front();
  }
  slot->backend_id = backend_id;
  uint64_t generation = (slot->life.load(std::memory_order_relaxed) >> 32) + 1;
  if (generation == kGenerations) generation = 1;
  slot->life.store(generation << 32 | 1, std::memory_order_release);
  Registry::Get().count(backend_id).Add();
  return slot;
}

Slot* Slots::Hold(void* ticket) {
  const uint64_t bits = Bits(ticket);
  const uint32_t index = static_cast<uint32_t>(bits) & ((1u << kSlotBits) - 1);
  const uint64_t generation = bits >> (kSlotBits + kBackendBits);
  Chunk* chunk = chunks_[index / kChunk].load(std::memory_order_acquire);
  if (chunk == nullptr) return nullptr;
  Slot& slot = chunk->slots[index % kChunk];
  uint64_t life = slot.life.load(std::memory_order_acquire);
  do {
    if (life >> 32 != generation || (life & 0xFFFFFFFF) == 0) return nullptr;
  } while (!slot.life.compare_exchange_weak(life, life + 1, std::memory_order_acq_rel));
  return &slot;
}

void Slots::Let(Slot* slot) {
  if (!Drop(slot)) return;
  const bool open = slot->accepted && slot->op != nullptr;
  if (!open || !Registry::Get().PostLane(slot->backend_id, [this, slot] { Return(slot); })) Return(slot);
}

void Slots::LetInCallback(Slot* slot) {
  if (Drop(slot)) Return(slot);
}

void Slots::Return(Slot* slot) {
  const uint32_t backend = slot->backend_id;
  if (slot->accepted && slot->op != nullptr) {
    const detail::InsideCall mark(slot);
    if (Status s = CallPlugin(Registry::Get().name(backend), "close", [&] { slot->calls->close(slot->op); });
        !s)
      Registry::Get().Report(backend, "failed in close: " + s.error().message);
  }
  slot->op = nullptr;
  slot->events = nullptr;
  slot->ctx = nullptr;
  slot->timers = nullptr;
  slot->output_credit = 0;
  slot->input_credit = 0;
  slot->credit_to_pass = 0;
  slot->eof_to_pass = false;
  slot->input_to_pass = 0;
  slot->accepted = false;
  slot->backend_done = false;
  slot->broken = false;
  slot->cancel_cause = CSB_OK;
  slot->told = false;
  slot->heard = false;
  slot->timer = 0;
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(slot);
  }
  Registry::Get().count(backend).Drop();
}

}  // namespace csb::host::guard

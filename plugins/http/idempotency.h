// SPDX-License-Identifier: Apache-2.0
//
// idempotency.h: what became of requests that had an Idempotency-Key, so that a repetition gets the
// first one's answer and runs nothing (draft-ietf-httpapi-idempotency-key-header).
//
//   auto found = memory.Begin(scope, target, now);       // scope: API key, user and Idempotency-Key
//   if (found.state == Found::kNew) …do it…, memory.End(found.entry, request, answer, now);
//   else if (found.state == Found::kEnded) …read the body…, memory.Recall(*found.entry, request);
//
// Bounded: entries by number and age, answers by bytes. What ended first goes first; of memory for answers
// only the answer goes, and a repetition is told so instead of being run. Thread-safe; it ends with the
// process, which X-Sandbox-Instance lets clients notice.
#pragma once

#include <openssl/evp.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "plugins/http/auth.h"
#include "plugins/http/reply.h"

namespace csb::http {

// 1 to 128 visible ASCII characters.
bool IsIdempotencyKey(std::string_view key);

// SHA-256 of what comes in pieces.
class RequestHash {
 public:
  explicit RequestHash(std::string_view start);
  void Add(std::string_view bytes);
  Digest Finish();

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

// An answer as it was sent.
struct KeptAnswer {
  int status = 0;
  std::string_view content_type;  // static text
  std::string fields, body;
  uint64_t size() const { return fields.size() + body.size(); }
};

class Idempotency {
 public:
  struct Limits {
    size_t entries = 4096;
    uint64_t answer_bytes = 256 << 10;  // of one answer
    uint64_t all_bytes = 16 << 20;      // of all
    uint64_t keep_ns = 600'000'000'000;
  };
  // Its members are the Idempotency's own.
  struct Entry {
    std::string scope;
    Digest target{}, request{};
    bool ended = false;
    std::optional<KeptAnswer> answer;  // of an ended one; none: it was not kept
    bool too_large = false;            // why it was not
    uint64_t ended_ns = 0;
  };
  struct Found {
    enum State {
      kNew,       // the caller does it and calls End or Forget
      kUnderWay,  // another one does
      kEnded,     // Recall
      kOther,     // the key was another target's
      kFull,      // as many as there may be are under way
    } state = kFull;
    std::shared_ptr<Entry> entry;
  };

  Idempotency() : Idempotency(Limits()) {}
  explicit Idempotency(Limits limits) : limits_(limits) {}
  const Limits& limits() const { return limits_; }

  Found Begin(std::string scope, const Digest& target, uint64_t now_ns);
  // Memory for an answer that is being recorded; false: there is none. GiveBack, or End with that answer.
  bool Grow(uint64_t bytes);
  void GiveBack(uint64_t bytes);
  // It has been answered. `answer`: as large as what Grow gave; none: it was too large.
  void End(const std::shared_ptr<Entry>& entry, const Digest& request, std::optional<KeptAnswer> answer,
           uint64_t now_ns);
  // Nothing was done: the next one is the first.
  void Forget(const std::shared_ptr<Entry>& entry);
  // The answer to a repetition, or why there is none.
  Reply Recall(const Entry& entry, const Digest& request);

 private:
  bool Fit(uint64_t bytes);
  void DropOldest();

  const Limits limits_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Entry>> entries_;
  std::deque<std::shared_ptr<Entry>> ended_;  // the first to have ended in front
  size_t without_answer_ = 0;                 // of ended_, so many in front have lost theirs
  uint64_t bytes_ = 0;
};

// What repetitions are told in place of an answer.
Reply UnderWayReply();
Reply OtherRequestReply(std::string_view what);
// The answer of a request whose connection broke.
Reply BrokenReply();

}  // namespace csb::http

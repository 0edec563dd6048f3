// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/idempotency.h"

#include <algorithm>
#include <utility>

namespace csb::http {
namespace {

constexpr char kReplayed[] = "Idempotency-Replayed: true\r\n";

Reply WithStatus(int status, const Error& error) {
  Reply reply = ErrorReply(error);
  reply.status = status;
  return reply;
}

}  // namespace

bool IsIdempotencyKey(std::string_view key) {
  return !key.empty() && key.size() <= 128 &&
         std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

RequestHash::RequestHash(std::string_view start) : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  Add(start);
}
void RequestHash::Add(std::string_view bytes) {
  EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
}
Digest RequestHash::Finish() {
  Digest digest{};
  EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
  return digest;
}

Idempotency::Found Idempotency::Begin(std::string scope, const Digest& target, uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  while (!ended_.empty() && ended_.front()->ended_ns + limits_.keep_ns <= now_ns) DropOldest();
  if (const auto found = entries_.find(scope); found != entries_.end()) {
    const auto& entry = found->second;
    if (entry->target != target) return {Found::kOther, entry};
    return {entry->ended ? Found::kEnded : Found::kUnderWay, entry};
  }
  if (entries_.size() >= limits_.entries) {
    if (ended_.empty()) return {};
    DropOldest();
  }
  auto entry = std::make_shared<Entry>();
  entry->scope = std::move(scope);
  entry->target = target;
  entries_.emplace(entry->scope, entry);
  return {Found::kNew, std::move(entry)};
}

void Idempotency::DropOldest() {
  const auto& oldest = ended_.front();
  if (oldest->answer) bytes_ -= oldest->answer->size();
  if (without_answer_ > 0) --without_answer_;
  entries_.erase(oldest->scope);
  ended_.pop_front();
}

bool Idempotency::Grow(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  for (; bytes_ + bytes > limits_.all_bytes && without_answer_ < ended_.size(); ++without_answer_) {
    Entry& entry = *ended_[without_answer_];
    if (!entry.answer) continue;
    bytes_ -= entry.answer->size();
    entry.answer.reset();
  }
  if (bytes_ + bytes > limits_.all_bytes) return false;
  bytes_ += bytes;
  return true;
}

void Idempotency::GiveBack(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ -= bytes;
}

void Idempotency::End(const std::shared_ptr<Entry>& entry, const Digest& request,
                      std::optional<KeptAnswer> answer, uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  entry->request = request;
  entry->ended = true;
  entry->too_large = !answer;
  entry->answer = std::move(answer);
  entry->ended_ns = now_ns;
  ended_.push_back(entry);
}

void Idempotency::Forget(const std::shared_ptr<Entry>& entry) {
  const std::lock_guard lock(mutex_);
  entries_.erase(entry->scope);
}

Reply Idempotency::Recall(const Entry& entry, const Digest& request) {
  const std::lock_guard lock(mutex_);
  if (entry.request != request) return OtherRequestReply("body");
  if (entry.answer)
    return {.status = entry.answer->status,
            .content_type = entry.answer->content_type,
            .body = entry.answer->body,
            .fields = entry.answer->fields + kReplayed};
  return WithStatus(
      409, {CSB_E_GONE,
            std::string("the request with this Idempotency-Key was answered, but ") +
                (entry.too_large ? "the answer is too large to be kept" : "the answer is kept no longer") +
                "; nothing was run again",
            "look at what it left; to run it once more use another key", false});
}

Reply UnderWayReply() {
  Reply reply = ErrorReply(Error{CSB_E_CONFLICT, "a request with this Idempotency-Key is under way",
                                 "wait for it, or use another key", true});
  reply.fields = "Retry-After: 1\r\n";
  return reply;
}

Reply OtherRequestReply(std::string_view what) {
  return ErrorReply(Error{CSB_E_INVALID,
                          "Idempotency-Key: was used for a request with another " + std::string(what),
                          "use a new key for each request, the same for its repetitions only", false});
}

Reply BrokenReply() {
  return WithStatus(503, {CSB_E_GONE, "the connection broke; what the request had started was ended",
                          "look at what it left; to run it once more use another key", false});
}

}  // namespace csb::http

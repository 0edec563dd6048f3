// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/idempotent_exchange.h"

#include <utility>

namespace csb::http {
namespace {

// Says that nothing was done: doing it is what a repetition is for.
bool NothingWasDone(csb_status code) {
  switch (code) {
    case CSB_E_BAD_REQUEST:
    case CSB_E_INVALID:
    case CSB_E_UNAUTHORIZED:
    case CSB_E_FORBIDDEN:
    case CSB_E_TOO_LARGE:
    case CSB_E_RATE_LIMITED:
    case CSB_E_UNAVAILABLE:
    case CSB_E_NO_CAPACITY:
    case CSB_E_NO_SANDBOX:
      return true;
    default:
      return false;
  }
}

class Replay final : public Exchange {
 public:
  Replay(App& app, std::shared_ptr<Idempotency::Entry> entry, RequestHash hash, uint64_t body_limit,
         Responder& out)
      : app_(app), entry_(std::move(entry)), hash_(std::move(hash)), body_limit_(body_limit), out_(out) {}
  uint64_t body_limit() const override { return body_limit_; }
  size_t TakeBody(std::string_view bytes) override {
    hash_.Add(bytes);
    return bytes.size();
  }
  void OnBodyEnd() override { out_.Respond(app_.idempotency.Recall(*entry_, hash_.Finish())); }

 private:
  App& app_;
  const std::shared_ptr<Idempotency::Entry> entry_;
  RequestHash hash_;
  const uint64_t body_limit_;
  Responder& out_;
};

}  // namespace

IdempotentExchange::~IdempotentExchange() {
  if (over_) return;
  // Before the inner one goes, which ends what it started: who sees that ended is told so.
  DropRecord();
  const Reply broken = BrokenReply();
  StartRecord(broken);
  if (answer_) Record(answer_->body, broken.body);
  Keep();
}

size_t IdempotentExchange::TakeBody(std::string_view bytes) {
  const size_t taken = inner_->TakeBody(bytes);
  hash_.Add(bytes.substr(0, taken));
  return taken;
}

void IdempotentExchange::OnBodyEnd() {
  request_ = hash_.Finish();
  body_ended_ = true;
  inner_->OnBodyEnd();
}

void IdempotentExchange::Respond(Reply reply) {
  if (NothingWasDone(reply.code)) {
    Forget();
  } else {
    StartRecord(reply);
    if (answer_) Record(answer_->body, reply.body);
    Keep();
  }
  out_.Respond(std::move(reply));
}

void IdempotentExchange::Begin(const Reply& reply, std::optional<uint64_t> length) {
  StartRecord(reply);
  out_.Begin(reply, length);
}

void IdempotentExchange::Write(std::string data, uint64_t credit) {
  if (answer_) Record(answer_->body, data);
  out_.Write(std::move(data), credit);
}

void IdempotentExchange::End() {
  Keep();
  out_.End();
}

void IdempotentExchange::StartRecord(const Reply& reply) {
  answer_ = KeptAnswer{reply.status, reply.content_type, {}, {}};
  Record(answer_->fields, reply.fields);
}

// `to` is a part of the answer.
void IdempotentExchange::Record(std::string& to, std::string_view data) {
  Idempotency& memory = app_.idempotency;
  if (answer_->size() + data.size() > memory.limits().answer_bytes || !memory.Grow(data.size()))
    return DropRecord();
  to.append(data);
}

void IdempotentExchange::DropRecord() {
  if (answer_) app_.idempotency.GiveBack(answer_->size());
  answer_.reset();
}

void IdempotentExchange::Keep() {
  if (!body_ended_) return Forget();
  if (std::exchange(over_, true)) return;
  app_.idempotency.End(entry_, request_, std::exchange(answer_, std::nullopt), app_.host.NowNs());
}

void IdempotentExchange::Forget() {
  if (std::exchange(over_, true)) return;
  DropRecord();
  app_.idempotency.Forget(entry_);
}

std::unique_ptr<Exchange> ReplayExchange(App& app, std::shared_ptr<Idempotency::Entry> entry,
                                         RequestHash hash, uint64_t body_limit, Responder& out) {
  return std::make_unique<Replay>(app, std::move(entry), std::move(hash), body_limit, out);
}

}  // namespace csb::http

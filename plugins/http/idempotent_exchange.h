// SPDX-License-Identifier: Apache-2.0
//
// idempotent_exchange.h: an Exchange around another one whose request has an Idempotency-Key: hashes the
// body as it comes, records what is answered, and keeps it (idempotency.h).
//
//   auto once = std::make_unique<IdempotentExchange>(app, entry, hash, out);
//   once->Do(MakeShellExchange(…, *once));                   // *once is the inner one's Responder
//
// What is not kept: an answer that came before the body's end, since nothing was done then, and one that
// says that nothing was done. An Exchange that goes without an answer was its client's: the connection
// broke, and repetitions are told so.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "plugins/http/app.h"
#include "plugins/http/exchange.h"
#include "plugins/http/idempotency.h"

namespace csb::http {

class IdempotentExchange final : public Exchange, public Responder {
 public:
  // `hash` has what comes before the body in the request's digest.
  IdempotentExchange(App& app, std::shared_ptr<Idempotency::Entry> entry, RequestHash hash, Responder& out)
      : app_(app), entry_(std::move(entry)), hash_(std::move(hash)), out_(out) {}
  ~IdempotentExchange() override;
  void Do(std::unique_ptr<Exchange> inner) { inner_ = std::move(inner); }

  uint64_t body_limit() const override { return inner_->body_limit(); }
  void Start() override { inner_->Start(); }
  size_t TakeBody(std::string_view bytes) override;
  void OnBodyEnd() override;
  void OnSent(uint64_t credit) override { inner_->OnSent(credit); }
  void OnTimer() override { inner_->OnTimer(); }

  void Respond(Reply reply) override;
  void Begin(const Reply& reply, std::optional<uint64_t> length) override;
  void Write(std::string data, uint64_t credit) override;
  void End() override;
  void Break() override { out_.Break(); }
  void WantBody() override { out_.WantBody(); }
  void Upgrade(std::string_view) override { out_.Break(); }  // no POST leads to one
  void CallBack(double seconds) override { out_.CallBack(seconds); }
  bool begun() const override { return out_.begun(); }

 private:
  void StartRecord(const Reply& reply);
  void Record(std::string& to, std::string_view data);
  void DropRecord();
  void Keep();
  void Forget();

  App& app_;
  const std::shared_ptr<Idempotency::Entry> entry_;
  RequestHash hash_;
  Responder& out_;
  std::unique_ptr<Exchange> inner_;
  Digest request_{};
  bool body_ended_ = false;
  bool over_ = false;                 // the entry has been told
  std::optional<KeptAnswer> answer_;  // as far as it was sent; none: nothing yet, or it is too large
};

// Reads the body of a repetition, and answers what its first one was answered.
std::unique_ptr<Exchange> ReplayExchange(App& app, std::shared_ptr<Idempotency::Entry> entry,
                                         RequestHash hash, uint64_t body_limit, Responder& out);

}  // namespace csb::http

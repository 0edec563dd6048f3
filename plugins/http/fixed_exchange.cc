// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/exchanges.h"

namespace csb::http {
namespace {

// Answers at once; a small body that is still to come is read over by the connection.
class Fixed final : public Exchange {
 public:
  Fixed(Reply reply, Responder& out) : reply_(std::move(reply)), out_(out) {}
  void Start() override { out_.Respond(std::move(reply_)); }

 private:
  Reply reply_;
  Responder& out_;
};

}  // namespace

std::unique_ptr<Exchange> FixedExchange(Reply reply, Responder& out) {
  return std::make_unique<Fixed>(std::move(reply), out);
}

}  // namespace csb::http

// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/service_exchange.h"

#include <algorithm>

namespace csb::http {
namespace {

constexpr size_t kInputPiece = 64 << 10;
// Below this a body is not worth being counted.
constexpr size_t kUncounted = 16 << 10;

}  // namespace

ServiceExchange::~ServiceExchange() {
  if (call_ != nullptr) call_->Abandon();
}

bool ServiceExchange::Submit(std::string_view payload, bool has_input, uint64_t output_credit, uint32_t op) {
  const RequestView request{.op = op != 0 ? op : in_.route->op,
                            .flags = has_input ? CSB_REQUEST_INPUT : 0u,
                            .user = in_.user,
                            .request_id = in_.request_id,
                            .payload = payload,
                            .output_credit = output_credit};
  auto call = ServiceCall::Start(app_.service, thread_.way, request, *this);
  if (!call) {
    Fail(call.error());
    return false;
  }
  call_ = *std::move(call);
  return true;
}

void ServiceExchange::Fail(const Error& error) {
  if (call_ != nullptr) call_->Abandon();
  if (answered_) return;
  answered_ = true;
  if (out_.begun())
    out_.Break();
  else
    out_.Respond(ErrorReply(error));
}

bool ServiceExchange::Hold(uint64_t bytes) {
  if (share_.Grow(bytes)) return true;
  Fail({CSB_E_NO_CAPACITY, "too many large requests are under way",
        "try again soon; send and read large files as raw bytes", true});
  return false;
}

void ServiceExchange::FeedInput(std::string text) {
  input_ = std::move(text);
  feeding_ = true;
  Feed();
}

void ServiceExchange::OnInputCredit(uint64_t bytes) {
  input_credit_ += bytes;
  Feed();
}

void ServiceExchange::Feed() {
  if (!feeding_ || call_ == nullptr) return;
  // Even an end alone waits for the first credit: before it there is nothing that could take it.
  if (input_.empty() && input_credit_ > 0) {
    feeding_ = false;
    return call_->Input({}, true);
  }
  while (feeding_ && input_credit_ > 0) {
    const size_t n = std::min({input_.size() - input_sent_, kInputPiece, static_cast<size_t>(input_credit_)});
    input_credit_ -= n;
    const std::string_view piece = std::string_view(input_).substr(input_sent_, n);
    input_sent_ += n;
    feeding_ = input_sent_ < input_.size();
    call_->Input(piece, !feeding_);
  }
}

size_t JsonExchange::TakeBody(std::string_view bytes) {
  if (answered_ || body_limit() == 0) return bytes.size();
  // The text, its parsed form and what is made of it live at one time.
  if (body_.size() + bytes.size() > kUncounted && !Hold(3 * bytes.size())) return bytes.size();
  body_.append(bytes);
  return bytes.size();
}

void JsonExchange::OnBodyEnd() {
  if (answered_) return;
  auto payload = BuildPayload(*in_.route, in_.target, body_, payload_options());
  std::string().swap(body_);
  if (!payload) return Fail(payload.error());
  OnPayload(*std::move(payload));
}

}  // namespace csb::http

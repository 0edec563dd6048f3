// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstring>
#include <ctime>
#include <deque>
#include <optional>

#include "plugins/http/dispatch.h"
#include "plugins/http/exchange.h"
#include "plugins/http/input_buffer.h"
#include "plugins/http/pace.h"
#include "plugins/http/request_parser.h"
#include "plugins/http/response_head.h"

namespace csb::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr size_t kFirstBuffer = 4 << 10;
constexpr size_t kBodyBuffer = 128 << 10;
constexpr uint64_t kSkippedBody = 64 << 10;
// A client that sends a large body without looking at the answer sees it only when all was taken.
constexpr auto kLingerTime = std::chrono::seconds(30);
constexpr auto kLingerSilence = std::chrono::seconds(2);
constexpr auto kPeerInterval = std::chrono::seconds(1);
constexpr size_t kMaxBuffersPerWrite = 16;

Clock::duration Seconds(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

class HttpConnection final : public Connection, private TransportEvents, private Responder {
 public:
  explicit HttpConnection(ConnectionParts parts)
      : app_(parts.app),
        thread_(parts.thread),
        transport_(std::move(parts.transport)),
        slot_(std::move(parts.slot)),
        peer_(std::move(parts.peer)),
        on_closed_(std::move(parts.on_closed)),
        // A path of 4096 bytes, each percent-encoded, fits into the default.
        parser_({app_.settings.max_header, app_.settings.max_header_fields,
                 app_.settings.max_header - app_.settings.max_header / 8}),
        input_(kFirstBuffer),
        body_pace_(app_.settings.body_timeout, app_.settings.min_rate),
        write_pace_(app_.settings.write_timeout, app_.settings.min_rate),
        timer_(thread_.io) {}

  void Start() override {
    head_deadline_ = Clock::now() + Seconds(app_.settings.header_timeout);
    transport_->Handshake(Self());
    ArmTimer();
  }

  void Drain() override {
    draining_ = true;
    linger_end_ = std::min(linger_end_, Clock::now() + kLingerSilence);
    if (exchange_ == nullptr && output_.empty() && stage_ != Stage::kLinger) Close();
  }

  void Close() override {
    if (stage_ == Stage::kClosed) return;
    stage_ = Stage::kClosed;
    transport_->Close();
    timer_.cancel();
    slot_.reset();
    DropExchange();
    if (on_closed_) std::exchange(on_closed_, nullptr)(this);
  }

 private:
  enum class Stage { kHandshake, kHead, kBody, kAnswer, kUpgraded, kLinger, kClosed };
  struct Piece {
    std::string data;
    uint64_t credit;
  };

  // Later, since the exchange may be among our callers; until then it hears and says nothing that counts.
  void DropExchange() {
    asio::post(thread_.io,
               [self = shared_from_this(), exchange = std::move(exchange_)]() mutable { exchange.reset(); });
  }

  Transport::Events Self() { return {shared_from_this(), static_cast<TransportEvents*>(this)}; }

  // ---- reading ----

  void OnHandshake(bool ok) override {
    if (stage_ == Stage::kClosed) return;
    if (!ok) return Close();
    stage_ = Stage::kHead;
    Pump();
  }

  void OnRead(error_code ec, size_t bytes) override {
    reading_ = false;
    if (stage_ == Stage::kClosed) return;
    if (ec) return OnReadError();
    if (stage_ == Stage::kLinger) {
      head_deadline_ = std::min(Clock::now() + kLingerSilence, linger_end_);
      return Read();
    }
    // The first byte of a request starts its clock; before it the connection is idle.
    if (stage_ == Stage::kHead && input_.empty() && requests_ > 0)
      head_deadline_ = Clock::now() + Seconds(app_.settings.header_timeout);
    input_.Added(bytes);
    if (stage_ == Stage::kBody) body_pace_.Moved(bytes, Clock::now());
    Pump();
  }

  // A client that has gone, or that will send nothing more: what it waits for is not run for nobody.
  void OnReadError() {
    if (answered_ && !output_.empty()) {
      close_ = true;  // the answer may still be read
      return;
    }
    Close();
  }

  void Pump() {
    for (bool more = true; more && stage_ != Stage::kClosed;) {
      if (stage_ == Stage::kHead)
        more = PumpHead();
      else if (stage_ == Stage::kBody)
        more = PumpBody();
      else if (stage_ == Stage::kUpgraded)
        more = PumpUpgraded();
      else
        more = false;
    }
    if (stage_ == Stage::kClosed) return;
    Read();
    ArmTimer();
  }

  bool PumpHead() {
    if (input_.empty()) return false;
    const ParseResult result = parser_.ParseHead(input_.view());
    if (!result.ok()) {
      Reject(result);
      return false;
    }
    if (result.consumed == 0) return false;
    StartRequest();
    input_.Consumed(result.consumed);
    if (stage_ == Stage::kClosed) return false;
    stage_ = Stage::kBody;
    parser_.LimitBody(exchange_->body_limit() > 0 ? exchange_->body_limit() : kSkippedBody);
    exchange_->Start();
    if (parser_.done() && stage_ == Stage::kBody)
      BodyEnd();
    else if (expects_continue_ && !answered_ && stage_ == Stage::kBody)
      Send("HTTP/1.1 100 Continue\r\n\r\n", 0);
    return true;
  }

  void StartRequest() {
    const RequestHead& head = parser_.head();
    ++requests_;
    started_ = Clock::now();
    http11_ = head.http11;
    close_ = close_ || !head.keep_alive;
    expects_continue_ = head.http11 && head.has_body && !head.expect.empty();
    Dispatched made = Dispatch(app_, thread_, head, *this);
    exchange_ = std::move(made.exchange);
    is_head_ = made.head;
    request_id_ = std::move(made.request_id);
    fields_ = std::move(made.fields);
    route_ = made.route;
    if (app_.settings.access_log) method_ = std::string(head.method);
  }

  bool PumpBody() {
    if (answered_ && close_) return false;  // what is left is not read: the connection ends with the answer
    body_pace_.Start(Clock::now());
    if (input_.empty()) return false;
    const ParseResult result = parser_.ParseBody(input_.view(), *exchange_);
    if (!result.ok()) {
      if (!begun_)
        Reject(result);
      else if (answered_)
        EndAfterAnswer();
      else
        Close();  // what the exchange has begun must not look complete
      return false;
    }
    input_.Consumed(result.consumed);
    if (stage_ != Stage::kBody) return false;
    if (parser_.done()) {
      BodyEnd();
      return true;
    }
    // Bytes that wait for credit are not the client's fault.
    if (result.blocked) body_pace_.Stop();
    return result.consumed > 0 && !result.blocked;
  }

  bool PumpUpgraded() {
    if (input_.empty() || exchange_ == nullptr || answered_) return false;
    const size_t taken = exchange_->TakeBody(input_.view());
    input_.Consumed(taken);
    return taken > 0;
  }

  void BodyEnd() {
    body_pace_.Stop();
    stage_ = Stage::kAnswer;
    ShrinkInput();
    if (!answered_)
      exchange_->OnBodyEnd();
    else if (output_.empty())
      Flushed();
  }

  // A body's buffer is large; a pending read holds on to it.
  void ShrinkInput() {
    if (!reading_) input_.Shrink(kFirstBuffer);
  }

  void EndAfterAnswer() {
    close_ = true;
    stage_ = Stage::kAnswer;
    if (output_.empty()) Flushed();
  }

  // Bytes that make no request, or no body: answered where that is still possible, then closed.
  void Reject(const ParseResult& why) {
    app_.host.Count("csb_http_refused_total", 1, R"({"reason":"malformed"})");
    stage_ = Stage::kAnswer;
    close_ = true;
    is_head_ = begun_ = answered_ = false;
    request_id_.clear();
    DropExchange();
    Respond(ErrorReply(why.status, why.message));
  }

  void Read() {
    if (reading_) return;
    if (stage_ == Stage::kLinger) input_.Clear();
    const size_t most = stage_ == Stage::kBody || stage_ == Stage::kUpgraded || stage_ == Stage::kLinger
                            ? kBodyBuffer
                            : app_.settings.max_header + 4;
    const auto [to, size] = input_.Room(most);
    if (size == 0) {
      // Full of the requests that follow: nothing is read that would tell that the client has gone.
      if (stage_ == Stage::kAnswer && !look_for_peer_) look_for_peer_ = Clock::now() + kPeerInterval;
      return;
    }
    reading_ = true;
    transport_->Read(to, size, Self());
  }

  // ---- answering ----

  void Respond(Reply reply) override {
    if (begun_ || answered_ || stage_ == Stage::kClosed) return;
    close_ = close_ || reply.close;
    const bool body = !is_head_ && reply.status != 204 && reply.status != 304;
    std::string data = Head(reply, reply.body.size());
    begun_ = answered_ = true;
    status_ = reply.status;
    if (!body) return Send(std::move(data), 0);
    if (reply.body.size() < 16 << 10) {
      data += reply.body;
      return Send(std::move(data), 0);
    }
    output_.push_back({std::move(data), 0});
    Send(std::move(reply.body), 0);
  }

  void Begin(const Reply& reply, std::optional<uint64_t> length) override {
    if (begun_ || stage_ == Stage::kClosed) return;
    chunked_ = !length && http11_ && !is_head_;
    if (!length && !http11_) close_ = true;  // the end of the connection is the end of the body
    begun_ = true;
    status_ = reply.status;
    Send(Head(reply, length), 0);
  }

  void Write(std::string data, uint64_t credit) override {
    if (stage_ == Stage::kClosed || answered_) return;
    if (data.empty() || is_head_) {
      if (credit > 0) asio::post(thread_.io, [self = shared_from_this(), this, credit] { Sent(credit); });
      return;
    }
    if (chunked_) {
      output_.push_back({ChunkHead(data.size()), 0});
      output_.push_back({std::move(data), credit});
      return Send("\r\n", 0);
    }
    Send(std::move(data), credit);
  }

  void End() override {
    if (answered_ || stage_ == Stage::kClosed) return;
    answered_ = true;
    if (chunked_) return Send("0\r\n\r\n", 0);
    if (output_.empty()) asio::post(thread_.io, [self = shared_from_this(), this] { Flushed(); });
  }

  void Upgrade(std::string_view fields) override {
    if (begun_ || stage_ != Stage::kAnswer) return Close();
    begun_ = close_ = true;  // nothing else is said on this connection
    status_ = 101;
    stage_ = Stage::kUpgraded;
    std::string head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
    if (!request_id_.empty()) head += "X-Request-Id: " + request_id_ + "\r\n";
    Send(head.append(fields).append("\r\n"), 0);
    asio::post(thread_.io, [self = shared_from_this(), this] {
      if (stage_ != Stage::kClosed) Pump();
    });
  }

  void Break() override { Close(); }

  void WantBody() override {
    if (stage_ == Stage::kUpgraded) return Pump();
    if (stage_ != Stage::kBody) return;
    body_pace_.Start(Clock::now());
    Pump();
  }

  void CallBack(double seconds) override {
    callback_ = Clock::now() + Seconds(seconds);
    ArmTimer();
  }

  bool begun() const override { return begun_; }

  std::string Head(const Reply& reply, std::optional<uint64_t> length) {
    // A body that is not read to its end would be taken for the next request; one of no interest is read
    // over.
    if (stage_ == Stage::kBody && !parser_.done() && exchange_->body_limit() > 0) close_ = true;
    if (draining_) close_ = true;
    return ResponseHead({.http11 = http11_,
                         .close = close_,
                         .chunked = chunked_,
                         .length = reply.status == 204 || reply.status == 304 ? std::nullopt : length,
                         .request_id = request_id_,
                         .more = fields_},
                        reply);
  }

  void Send(std::string data, uint64_t credit) {
    output_.push_back({std::move(data), credit});
    if (!writing_) StartWrite();
  }

  void StartWrite() {
    size_t count = 0;
    size_t skip = sent_of_front_;
    for (const Piece& piece : output_) {
      if (count == buffers_.size()) break;
      buffers_[count++] = asio::const_buffer(piece.data.data() + skip, piece.data.size() - skip);
      skip = 0;
    }
    writing_ = true;
    if (!write_pace_.running()) {
      write_pace_.Start(Clock::now());
      ArmTimer();
    }
    transport_->Write({buffers_.data(), count}, Self());
  }

  void OnWritten(error_code ec, size_t bytes) override {
    writing_ = false;
    if (stage_ == Stage::kClosed) return;
    if (ec) return Close();
    write_pace_.Moved(bytes, Clock::now());
    uint64_t credit = 0;
    for (size_t left = sent_of_front_ + bytes; true;) {
      if (output_.empty() || left < output_.front().data.size()) {
        sent_of_front_ = left;
        break;
      }
      left -= output_.front().data.size();
      credit += output_.front().credit;
      output_.pop_front();
    }
    if (!output_.empty()) StartWrite();
    if (credit > 0) Sent(credit);
    if (output_.empty() && stage_ != Stage::kClosed) Flushed();
  }

  void Sent(uint64_t credit) {
    if (exchange_ != nullptr && stage_ != Stage::kClosed) exchange_->OnSent(credit);
  }

  // Everything queued has been sent: maybe the whole answer.
  void Flushed() {
    if (!output_.empty() || stage_ == Stage::kClosed || stage_ == Stage::kLinger) return;
    write_pace_.Stop();
    if (!answered_ || (stage_ == Stage::kBody && !close_)) return;
    Log();
    exchange_.reset();
    if (close_ || draining_ || !parser_.done()) return Linger();
    callback_.reset();
    begun_ = answered_ = chunked_ = is_head_ = expects_continue_ = false;
    parser_.Reset();
    ShrinkInput();
    stage_ = Stage::kHead;
    const auto now = Clock::now();
    head_deadline_ =
        now + Seconds(input_.empty() ? app_.settings.idle_timeout : app_.settings.header_timeout);
    Pump();
  }

  // The rest of what the client sends is read over for a moment: closing on unread bytes would reset
  // the connection, and the answer could be lost with it.
  void Linger() {
    stage_ = Stage::kLinger;
    callback_.reset();
    body_pace_.Stop();
    linger_end_ = Clock::now() + (draining_ ? kLingerSilence : kLingerTime);
    head_deadline_ = Clock::now() + kLingerSilence;
    transport_->Shutdown(Self());
    ArmTimer();
  }
  void OnShutdown() override {
    if (stage_ == Stage::kLinger) Read();
  }

  // ---- time ----

  std::optional<Clock::time_point> NextDeadline() const {
    std::optional<Clock::time_point> next;
    const auto add = [&](std::optional<Clock::time_point> t) {
      if (t && (!next || *t < *next)) next = t;
    };
    if (stage_ == Stage::kHandshake || stage_ == Stage::kHead || stage_ == Stage::kLinger)
      add(head_deadline_);
    if (stage_ == Stage::kBody) add(body_pace_.deadline());
    add(write_pace_.deadline());
    add(callback_);
    add(look_for_peer_);
    return next;
  }

  // Deadlines move with every request; the timer is set anew only when one comes before it.
  void ArmTimer() {
    const auto next = NextDeadline();
    if (!next || stage_ == Stage::kClosed || (timer_set_ && timer_.expiry() <= *next)) return;
    timer_set_ = true;
    timer_.expires_at(*next);
    timer_.async_wait([self = shared_from_this(), this](error_code ec) {
      if (ec || stage_ == Stage::kClosed) return;  // set anew, or closed
      timer_set_ = false;
      OnTime();
    });
  }

  void OnTime() {
    const auto now = Clock::now();
    const auto passed = [&](std::optional<Clock::time_point> t) { return t && *t <= now; };
    if (passed(write_pace_.deadline())) return Drop("write");
    if (stage_ == Stage::kBody && passed(body_pace_.deadline())) return TimedOut("body");
    if ((stage_ == Stage::kHandshake || stage_ == Stage::kLinger) && passed(head_deadline_)) return Close();
    if (stage_ == Stage::kHead && passed(head_deadline_))
      return input_.empty() ? Close() : TimedOut("header");
    if (passed(look_for_peer_)) {
      look_for_peer_.reset();
      if (stage_ == Stage::kAnswer && !reading_ && transport_->PeerHungUp())
        OnReadError();
      else
        Read();
    }
    if (passed(callback_)) {
      callback_.reset();
      if (exchange_ != nullptr) exchange_->OnTimer();
    }
    if (stage_ != Stage::kClosed) ArmTimer();
  }

  void TimedOut(const char* what) {
    if (begun_) return Drop(what);
    Count(what);
    Reject({0, 408, std::string("the request's ") + what + " did not come in time", false});
  }
  void Drop(const char* what) {
    Count(what);
    Close();
  }
  void Count(const char* what) {
    app_.host.Count("csb_http_timeouts_total", 1, std::string(R"({"what":")") + what + "\"}");
  }

  void Log() {
    if (!app_.settings.access_log) return;
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started_).count();
    app_.host.LogInfo(peer_ + " " + method_ + " " + (*route_ != 0 ? route_ : "-") + " " +
                      std::to_string(status_) + " " + std::to_string(us / 1000) + "." +
                      std::to_string(us / 100 % 10) + " ms " + request_id_);
  }

  App& app_;
  ThreadState& thread_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<ConnectionLimits::Slot> slot_;
  const std::string peer_;
  std::function<void(Connection*)> on_closed_;

  Stage stage_ = Stage::kHandshake;
  RequestParser parser_;
  InputBuffer input_;
  bool reading_ = false;
  bool draining_ = false;

  // Of the request under way.
  std::unique_ptr<Exchange> exchange_;
  uint64_t requests_ = 0;
  bool http11_ = true, close_ = false, is_head_ = false, expects_continue_ = false;
  bool begun_ = false;     // the answer's head is queued
  bool answered_ = false;  // all of the answer is queued
  bool chunked_ = false;
  int status_ = 0;
  std::string request_id_, fields_, method_;
  const char* route_ = "";
  Clock::time_point started_;

  std::deque<Piece> output_;
  std::array<asio::const_buffer, kMaxBuffersPerWrite> buffers_;  // views into output_, until OnWritten
  size_t sent_of_front_ = 0;
  bool writing_ = false;

  Clock::time_point head_deadline_;
  Clock::time_point linger_end_ = Clock::time_point::max();
  Pace body_pace_, write_pace_;
  std::optional<Clock::time_point> callback_, look_for_peer_;
  asio::steady_timer timer_;
  bool timer_set_ = false;
};

}  // namespace

std::shared_ptr<Connection> MakeConnection(ConnectionParts parts) {
  return std::make_shared<HttpConnection>(std::move(parts));
}

}  // namespace csb::http

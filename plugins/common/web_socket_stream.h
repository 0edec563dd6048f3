// SPDX-License-Identifier: Apache-2.0
//
// web_socket_stream.h: an HttpConnection as what Asio calls an AsyncStream, so that Beast can speak on it, on
// a reactor's thread instead of an io_context's. For web_socket.cc.
//
//   StreamCore core(context, std::move(connection), [] { /* see to it that Step is called */ });
//   boost::beast::websocket::stream<ReactorStream, false> stream(ReactorStream(&core));
//   stream.async_read(buffer, …);
//   while (core.Step()) continue;      // calls handlers; then wait for core.events() on core.fd()
//
// At most one read and one write are under way, as Beast has it. Everything on one thread at a time; no
// handler runs but from Step and StepWrite.
#pragma once

#include <sys/epoll.h>

#include <algorithm>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/websocket/teardown.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "plugins/common/http_upgrade.h"

namespace csb {

class StreamCore {
 public:
  using ErrorCode = boost::system::error_code;
  using Clock = std::chrono::steady_clock;

  // `wake`: work was added outside of Step.
  StreamCore(std::shared_ptr<boost::asio::io_context> context, std::unique_ptr<HttpConnection> connection,
             std::function<void()> wake)
      : context_(std::move(context)), connection_(std::move(connection)), wake_(std::move(wake)) {}
  StreamCore(const StreamCore&) = delete;
  StreamCore& operator=(const StreamCore&) = delete;

  // What can be done now. False: nothing could.
  bool Step() {
    bool progress = false;
    while (!ready_.empty()) {
      auto work = std::move(ready_.front());
      ready_.pop_front();
      work->Run({}, 0);
      progress = true;
    }
    progress |= StepWrite();
    progress |= StepRead();
    return progress;
  }

  // What can't be sent any more counts as sent: what the other side sent before it closed is still to be
  // read, and after it its end.
  bool StepWrite() {
    if (!write_) return false;
    while (!aborted_ && !unsendable_ && written_ < out_.size()) {
      auto sent = connection_->Send(std::string_view(out_).substr(written_));
      if (sent && *sent == 0) return false;
      if (sent)
        written_ += *sent;
      else
        unsendable_ = true;
    }
    auto done = std::move(write_);
    if (aborted_)
      done->Run(boost::asio::error::operation_aborted, 0);
    else
      done->Run({}, out_.size());
    return true;
  }

  // What an operation waits for: 0, EPOLLIN, EPOLLOUT or both.
  uint32_t events() const {
    return aborted_ ? 0 : (read_ ? uint32_t{EPOLLIN} : 0u) | (write_ ? uint32_t{EPOLLOUT} : 0u);
  }
  int fd() const { return connection_->fd(); }
  // Every operation, and all to come, end with operation_aborted, at the next Step.
  void Abort() { aborted_ = true; }
  void Disconnect() { connection_.reset(); }  // after Abort
  // The transport's own words, where it was it that failed.
  const std::optional<Error>& failure() const { return failure_; }
  // More than this many bytes are a failure, until it is lifted.
  void LimitReceived(std::optional<size_t> limit) { may_receive_ = limit; }
  Clock::time_point last_received() const { return last_received_; }

 private:
  friend class ReactorStream;
  static constexpr size_t kMaxWrite = (64 << 10) + 16;  // a buffer of Beast's and a frame's head

  struct Work {
    virtual ~Work() = default;
    virtual void Run(ErrorCode code, size_t size) = 0;
  };
  template <typename Handler>
  struct Operation final : Work {
    explicit Operation(Handler handler) : handler(std::move(handler)) {}
    void Run(ErrorCode code, size_t size) override { std::move(handler)(code, size); }
    Handler handler;
  };
  template <typename Function>
  struct Posted final : Work {
    explicit Posted(Function function) : function(std::move(function)) {}
    void Run(ErrorCode, size_t) override { std::move(function)(); }
    Function function;
  };

  void Post(std::unique_ptr<Work> work) {
    ready_.push_back(std::move(work));
    wake_();
  }

  bool StepRead() {
    if (!read_) return false;
    ErrorCode code;
    size_t size = 0;
    if (!aborted_ && buffer_.size() > 0) {
      auto got = connection_->Recv(static_cast<char*>(buffer_.data()), buffer_.size());
      if (got && !*got) return false;
      if (!got) {
        Fail(std::move(got).error());
      } else if (**got == 0) {
        code = boost::asio::error::eof;
      } else {
        size = **got;
        last_received_ = Clock::now();
        if (may_receive_ && size > *may_receive_)
          Fail({CSB_E_TOO_LARGE, "the answer is too large", "", false});
        else if (may_receive_)
          *may_receive_ -= size;
      }
    }
    if (aborted_) code = boost::asio::error::operation_aborted;
    auto done = std::move(read_);
    done->Run(code, code ? 0 : size);
    return true;
  }

  void Fail(Error error) {
    failure_ = std::move(error);
    Abort();
  }

  // For Beast's timer, which is never set, and its services; nobody runs it.
  const std::shared_ptr<boost::asio::io_context> context_;
  std::unique_ptr<HttpConnection> connection_;
  const std::function<void()> wake_;
  std::deque<std::unique_ptr<Work>> ready_;
  std::unique_ptr<Work> read_, write_;
  boost::asio::mutable_buffer buffer_;  // of read_
  std::string out_;                     // of write_; stays where it is until all is taken, as TLS wants it
  size_t written_ = 0;
  bool aborted_ = false, unsendable_ = false;
  std::optional<Error> failure_;
  std::optional<size_t> may_receive_;
  Clock::time_point last_received_ = Clock::now();
};

class ReactorStream {
 public:
  using ErrorCode = StreamCore::ErrorCode;

  class executor_type {
   public:
    explicit executor_type(StreamCore* core) : core_(core) {}
    template <typename Function>
    void execute(Function&& function) const {
      core_->Post(
          std::make_unique<StreamCore::Posted<std::decay_t<Function>>>(std::forward<Function>(function)));
    }
    boost::asio::execution_context& query(boost::asio::execution::context_t) const noexcept {
      return *core_->context_;
    }
    static constexpr boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t) noexcept {
      return boost::asio::execution::blocking.never;
    }
    executor_type require(boost::asio::execution::blocking_t::never_t) const noexcept { return *this; }
    bool operator==(const executor_type&) const noexcept = default;

   private:
    StreamCore* core_;
  };

  explicit ReactorStream(StreamCore* core) : core_(core) {}
  executor_type get_executor() const noexcept { return executor_type(core_); }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(ErrorCode, size_t)>(
        [](auto handler, StreamCore* core, const Buffers& into) {
          core->buffer_ = {};
          const auto end = boost::asio::buffer_sequence_end(into);
          for (auto it = boost::asio::buffer_sequence_begin(into); it != end; ++it) {
            core->buffer_ = boost::asio::mutable_buffer(*it);
            if (core->buffer_.size() > 0) break;
          }
          core->read_ = std::make_unique<StreamCore::Operation<decltype(handler)>>(std::move(handler));
          core->wake_();
        },
        token, core_, buffers);
  }

  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(ErrorCode, size_t)>(
        [](auto handler, StreamCore* core, const Buffers& from) {
          // One piece of what may be a frame's head and its payload: one packet, one TLS record.
          core->out_.clear();
          core->written_ = 0;
          const auto end = boost::asio::buffer_sequence_end(from);
          for (auto it = boost::asio::buffer_sequence_begin(from); it != end; ++it) {
            const boost::asio::const_buffer part(*it);
            core->out_.append(static_cast<const char*>(part.data()),
                              std::min(part.size(), StreamCore::kMaxWrite - core->out_.size()));
          }
          core->write_ = std::make_unique<StreamCore::Operation<decltype(handler)>>(std::move(handler));
          core->wake_();
        },
        token, core_, buffers);
  }

  // Beast's last step after the frames that close; the connection is closed with the object.
  template <typename Handler>
  friend void async_teardown(boost::beast::role_type, ReactorStream& stream, Handler&& handler) {
    stream.get_executor().execute(
        [handler = std::forward<Handler>(handler)]() mutable { std::move(handler)(ErrorCode()); });
  }
  friend void teardown(boost::beast::role_type, ReactorStream&, ErrorCode& code) { code = {}; }
  friend void beast_close_socket(ReactorStream& stream) { stream.core_->Abort(); }

 private:
  StreamCore* core_;
};

}  // namespace csb

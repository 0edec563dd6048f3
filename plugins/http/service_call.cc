// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/service_call.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

namespace csb::http {

namespace asio = boost::asio;

struct WayBack::Wake {
  Wake(asio::io_context& io, int fd) : events(io, fd) {}
  asio::posix::stream_descriptor events;
};

WayBack::WayBack(asio::io_context& io) : io_(&io) {}
WayBack::~WayBack() = default;

bool WayBack::Post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (io_ == nullptr) return false;
    if (!wake_ || io_->get_executor().running_in_this_thread()) {
      asio::post(*io_, std::move(work));
      return true;
    }
    posted_.push_back(std::move(work));
    if (posted_.size() > 1) return true;
  }
  const uint64_t one = 1;
  // Can't be full: it is read before what was posted is taken.
  [[maybe_unused]] const ssize_t n = ::write(ring_.get(), &one, sizeof one);
  return true;
}

void WayBack::Listen() {
  ring_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const int heard = ring_ ? ::fcntl(ring_.get(), F_DUPFD_CLOEXEC, 0) : -1;
  if (heard < 0) return;  // there is the other way
  const std::lock_guard lock(mutex_);
  wake_ = std::make_unique<Wake>(*io_, heard);
  Await();
}

void WayBack::Await() {
  wake_->events.async_wait(
      asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
        if (error || !wake_) return;
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t n = ::read(wake_->events.native_handle(), &count, sizeof count);
        Await();
        RunPosted();
      });
}

void WayBack::RunPosted() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& each : work) std::exchange(each, nullptr)();
}

void WayBack::Rest() {
  std::unique_ptr<Wake> wake;
  {
    const std::lock_guard lock(mutex_);
    wake = std::move(wake_);
  }
  RunPosted();
}

void WayBack::Close() {
  std::vector<std::function<void()>> dropped;  // freed without the lock: they may post when they end
  std::unique_ptr<Wake> wake;
  const std::lock_guard lock(mutex_);
  io_ = nullptr;
  wake = std::move(wake_);
  dropped = std::move(posted_);
}

Result<std::shared_ptr<ServiceCall>> ServiceCall::Start(const ServiceClient& client,
                                                        std::shared_ptr<WayBack> way,
                                                        const RequestView& request, CallEvents& events) {
  auto self = std::make_shared<ServiceCall>(std::move(way), events);
  auto call = client.Submit(request, self);
  if (!call) return std::move(call).error();
  // Events that came meanwhile wait in io's queue behind us.
  self->call_ = *std::move(call);
  return self;
}

void ServiceCall::Credit(uint64_t bytes) {
  if (call_ != nullptr && bytes > 0) call_->Credit(bytes);
}

void ServiceCall::Input(std::string_view data, bool eof) {
  // An error of input is told by on_done, too.
  if (call_ != nullptr) call_->Input(data, eof);
}

void ServiceCall::Abandon() {
  events_ = nullptr;
  if (call_ != nullptr) call_->Cancel(CSB_E_CANCELLED);
}

void ServiceCall::OnOutput(Call&, uint32_t stream, std::string_view data) {
  {
    std::lock_guard lock(mutex_);
    if (!queue_.empty() && queue_.back().kind == Kind::kOutput && queue_.back().id == stream) {
      queue_.back().text.append(data);
      return;
    }
  }
  Push({.kind = Kind::kOutput, .id = stream, .text = std::string(data)});
}

void ServiceCall::OnEvent(Call&, uint32_t event, std::string_view json) {
  Push({.kind = Kind::kEvent, .id = event, .text = std::string(json)});
}

void ServiceCall::OnInputCredit(Call&, uint64_t bytes) { Push({.kind = Kind::kInputCredit, .bytes = bytes}); }

void ServiceCall::OnDone(Call&, const OutcomeView& o) {
  Push({.kind = Kind::kDone,
        .id = o.retryable ? 1u : 0u,
        .code = o.code,
        .text = std::string(o.result),
        .message = std::string(o.message),
        .hint = std::string(o.hint)});
}

void ServiceCall::Push(Item item) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(item));
  if (posted_) return;
  posted_ = true;
  // Without a way back nobody listens: whoever did has abandoned this call.
  if (!way_->Post([self = shared_from_this()] { self->Deliver(); })) queue_.clear();
}

void ServiceCall::Deliver() {
  std::vector<Item> items;
  {
    std::lock_guard lock(mutex_);
    items.swap(queue_);
    posted_ = false;
  }
  for (Item& item : items) {
    // Whoever is called may abandon us: looked at anew for each event.
    if (item.kind == Kind::kDone) call_.reset();  // closes the handle
    if (events_ == nullptr) continue;
    switch (item.kind) {
      case Kind::kOutput:
        events_->OnOutput(item.id, std::move(item.text));
        break;
      case Kind::kEvent:
        events_->OnEvent(item.id, item.text);
        break;
      case Kind::kInputCredit:
        events_->OnInputCredit(item.bytes);
        break;
      case Kind::kDone:
        events_->OnDone({item.code, item.id != 0, item.text, item.message, item.hint});
        break;
    }
  }
}

}  // namespace csb::http

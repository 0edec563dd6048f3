// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/test_server.h"

#include <chrono>
#include <stdexcept>

namespace csb::http {

constexpr auto kLimit = std::chrono::seconds(10);

template <typename F>
bool HeldOperation::Wait(F f) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kLimit, f);
}

Status HeldOperation::Input(std::string_view data, bool eof) {
  const std::lock_guard lock(mutex_);
  input_.append(data);
  eof_ = eof_ || eof;
  changed_.notify_all();
  return {};
}

void HeldOperation::Cancel(csb_status cause) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }
  sink.Fail({cause, "cancelled", "", false});
}

bool HeldOperation::WaitCancelled() {
  return Wait([this] { return cancelled_; });
}
bool HeldOperation::WaitInput(size_t bytes) {
  return Wait([&] { return input_.size() >= bytes; });
}
bool HeldOperation::WaitEof() {
  return Wait([this] { return eof_; });
}
std::string HeldOperation::input() {
  const std::lock_guard lock(mutex_);
  return input_;
}
bool HeldOperation::eof() {
  const std::lock_guard lock(mutex_);
  return eof_;
}

void HeldOperation::Credit(uint64_t) { Pour(); }

void HeldOperation::Flood(uint32_t stream, uint64_t bytes, std::string result) {
  {
    const std::lock_guard lock(mutex_);
    flood_stream_ = stream;
    flood_left_ = bytes;
    flood_result_ = std::move(result);
  }
  Pour();
}

uint64_t HeldOperation::flooded() {
  const std::lock_guard lock(mutex_);
  return flood_sent_;
}

void HeldOperation::Pour() {
  const std::lock_guard lock(mutex_);
  static const std::string kPiece(64 << 10, 'x');
  while (flood_left_ > 0) {
    const size_t n = sink.Output(
        flood_stream_, std::string_view(kPiece).substr(0, std::min<uint64_t>(kPiece.size(), flood_left_)));
    if (n == 0) return;
    flood_left_ -= n;
    flood_sent_ += n;
    if (flood_left_ == 0) sink.Done(flood_result_);
  }
}

namespace {

TestServer::Options WithDefaults(TestServer::Options options) {
  options.emplace("http.port", "0");
  options.emplace("http.host", "127.0.0.1");
  options.emplace("http.rate_limit", "0");
  return options;
}

}  // namespace

TestServer::TestServer(Options options) : host(WithDefaults(std::move(options))), service(host) {
  auto made = Server::Create(host.ref(), service.client());
  if (!made) throw std::runtime_error(made.error().message);
  server = *std::move(made);
  if (auto status = server->Start([](int) {}); !status) throw std::runtime_error(status.error().message);
  for (const auto& line : host.logs()) {
    const size_t at = line.message.rfind(':');
    if (line.message.find("listening on") != std::string::npos)
      port_ = static_cast<uint16_t>(std::stoi(line.message.substr(at + 1)));
  }
}

TestServer::~TestServer() {
  if (server == nullptr) return;
  server->Stop();
  // As the host does: what still runs is cancelled before the frontend goes.
  for (const auto& operation : held_) operation->Cancel(CSB_E_CANCELLED);
  server.reset();
}

void TestServer::Hold(uint32_t op) {
  service.On(op, [this](const RequestView&, EventSink sink) -> Result<std::shared_ptr<Operation>> {
    auto operation = std::make_shared<HeldOperation>(std::move(sink));
    const std::lock_guard lock(mutex_);
    held_.push_back(operation);
    changed_.notify_all();
    return std::shared_ptr<Operation>(operation);
  });
}

std::shared_ptr<HeldOperation> TestServer::held(size_t n) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, kLimit, [&] { return held_.size() > n; }))
    throw std::runtime_error("the operation was not submitted");
  return held_[n];
}

}  // namespace csb::http

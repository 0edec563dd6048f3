// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/loop.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <vector>

namespace csb::http {

namespace asio = boost::asio;

constexpr auto kLastWords = std::chrono::seconds(1);  // frontend.h: destroy takes at most a second

void Loop::Run() {
  state_.way->Listen();
  thread_ = std::thread([this] { io_.run(); });
}

void Loop::Join() {
  if (thread_.joinable()) thread_.join();
}

void Loop::Add(App& app, std::unique_ptr<Transport> transport, std::unique_ptr<ConnectionLimits::Slot> slot,
               std::string peer) {
  asio::post(io_, [this, &app, transport = std::move(transport), slot = std::move(slot),
                   peer = std::move(peer)]() mutable {
    auto connection = MakeConnection({app, state_, std::move(transport), std::move(slot), std::move(peer),
                                      [this](Connection* c) { OnClosed(c); }});
    connections_.emplace(connection.get(), connection);
    connection->Start();
    if (draining_) connection->Drain();
  });
}

void Loop::SetKeys(std::shared_ptr<const KeyRing> keys) {
  asio::post(io_, [this, keys = std::move(keys)]() mutable { state_.keys = std::move(keys); });
}

void Loop::Drain() {
  asio::post(io_, [this] {
    draining_ = true;
    ForEach([](Connection& c) { c.Drain(); });
  });
}

void Loop::Finish() {
  Drain();
  asio::post(io_, [this] {
    work_.reset();
    if (connections_.empty()) return state_.way->Rest();
    finishing_ = true;
    end_.expires_after(kLastWords);
    // Cancelled when the last connection has closed; nothing is left to close then.
    end_.async_wait([this](boost::system::error_code) { ForEach([](Connection& c) { c.Close(); }); });
  });
}

// Closing a connection takes it out of the map.
template <typename F>
void Loop::ForEach(F f) {
  std::vector<std::shared_ptr<Connection>> all;
  for (const auto& [pointer, connection] : connections_) all.push_back(connection);
  for (const auto& connection : all) f(*connection);
}

void Loop::OnClosed(Connection* connection) {
  connections_.erase(connection);
  if (!connections_.empty()) return;
  end_.cancel();
  // Not from inside of what a connection does.
  if (finishing_) asio::post(io_, [this] { state_.way->Rest(); });
}

}  // namespace csb::http

// SPDX-License-Identifier: Apache-2.0
//
// loop.h: a thread with an io_context of its own, and the connections that live on it.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>

#include "plugins/http/app.h"
#include "plugins/http/connection.h"
#include "plugins/http/service_call.h"

namespace csb::http {

class Loop {
 public:
  explicit Loop(std::shared_ptr<const KeyRing> keys)
      : state_{io_, std::make_shared<WayBack>(io_), std::move(keys)}, work_(io_.get_executor()) {}
  ~Loop() { state_.way->Close(); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  boost::asio::io_context& io() { return io_; }
  void Run();
  void Join();

  // All others on any thread.
  void Add(App& app, std::unique_ptr<Transport> transport, std::unique_ptr<ConnectionLimits::Slot> slot,
           std::string peer);
  void SetKeys(std::shared_ptr<const KeyRing> keys);
  // Connections close when what they answer has been sent.
  void Drain();
  // The same, within a second; then the thread ends.
  void Finish();

 private:
  template <typename F>
  void ForEach(F f);
  void OnClosed(Connection* connection);

  boost::asio::io_context io_{1};
  ThreadState state_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer end_{io_};
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  bool draining_ = false, finishing_ = false;
  std::thread thread_;
};

}  // namespace csb::http

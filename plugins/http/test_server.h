// SPDX-License-Identifier: Apache-2.0
//
// test_server.h: the frontend on a free loopback port, against a fake host and a fake service.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "clara_sandbox/testing/fake_host.h"
#include "clara_sandbox/testing/fake_service.h"
#include "plugins/http/server.h"

namespace csb::http {

// An operation that writes down what the frontend asks of it.
class HeldOperation : public Operation {
 public:
  explicit HeldOperation(EventSink sink) : sink(std::move(sink)) {}
  Status Input(std::string_view data, bool eof) override;
  void Credit(uint64_t) override;
  void Cancel(csb_status cause) override;  // ends it
  bool WaitCancelled();
  bool WaitInput(size_t bytes);
  bool WaitEof();
  std::string input();
  bool eof();

  EventSink sink;
  // Sends this much as credit comes; 0: nothing.
  void Flood(uint32_t stream, uint64_t bytes, std::string result);
  uint64_t flooded();

 private:
  template <typename F>
  bool Wait(F f);
  void Pour();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string input_;
  bool eof_ = false, cancelled_ = false;
  uint32_t flood_stream_ = 0;
  uint64_t flood_left_ = 0, flood_sent_ = 0;
  std::string flood_result_;
};

class TestServer {
 public:
  using Options = csb::testing::FakeHost::Options;
  explicit TestServer(Options options = {});
  ~TestServer();

  uint16_t port() const { return port_; }
  // The next operations of this kind are held.
  void Hold(uint32_t op);
  // The n-th held one, once it was submitted.
  std::shared_ptr<HeldOperation> held(size_t n = 0);

  csb::testing::FakeHost host;
  csb::testing::FakeService service;
  std::unique_ptr<Server> server;

 private:
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<HeldOperation>> held_;
};

}  // namespace csb::http

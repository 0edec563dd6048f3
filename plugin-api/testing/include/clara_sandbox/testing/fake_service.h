// SPDX-License-Identifier: Apache-2.0
//
// fake_service.h: a csb_service for unit tests of frontends, scripted per operation, and a
// harness that runs a Backend class behind its C table.
//
//   FakeHost host;
//   FakeService service(host);
//   service.On(CSB_OP_SHELL, [](const RequestView& request, EventSink sink) {
//     sink.Output(CSB_STREAM_STDOUT, "hi\n");
//     sink.Done(R"({"exit_code":0,"cause":"exit"})");
//     return FakeService::NoOperation();      // or a shared_ptr<Operation> that hears cancel
//   });
//   auto frontend = MyFrontend::Create(host.ref(), service.client());
//   …
//   EXPECT_EQ(service.requests()[0].user, "alice");
//
// An operation without a script is answered with CSB_E_UNSUPPORTED. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "clara_sandbox/cpp/backend.h"
#include "clara_sandbox/cpp/service_client.h"
#include "clara_sandbox/testing/fake_host.h"

namespace csb::testing {

class FakeService {
 public:
  using Answer = std::function<Result<std::shared_ptr<Operation>>(const RequestView&, EventSink)>;

  explicit FakeService(FakeHost& host);
  ~FakeService();
  FakeService(const FakeService&) = delete;
  FakeService& operator=(const FakeService&) = delete;

  void On(uint32_t op, Answer answer);
  // Answers with this outcome at once.
  void OnDone(uint32_t op, std::string result, std::string standard_output = {});
  void OnError(uint32_t op, Error error);
  static Result<std::shared_ptr<Operation>> NoOperation() { return std::shared_ptr<Operation>(); }

  const csb_service_v1* table() const { return &table_; }
  ServiceClient client() const { return ServiceClient(&table_); }
  std::vector<Request> requests() const;  // all that were submitted, in order

 private:
  class Scripted;
  csb_service_v1 table_;
  csb_backend* self_ = nullptr;
};

// One instance of Backend class T, made through the same table that a host uses.
//   BackendHarness<MyBackend> backend(host);
//   Recorder op(backend.table(), backend.self(), {.op = CSB_OP_PROBE});
template <typename T>
class BackendHarness {
 public:
  explicit BackendHarness(FakeHost& host) { code_ = table()->create(host.table(), &self_, &error_); }
  ~BackendHarness() {
    if (self_ != nullptr) table()->destroy(self_);
  }
  BackendHarness(const BackendHarness&) = delete;
  BackendHarness& operator=(const BackendHarness&) = delete;

  csb_status code() const { return code_; }  // of create
  Error error() const { return Error::From(code_, error_); }
  csb_backend* self() const { return self_; }
  static const csb_backend_v1* table() {
    return static_cast<const csb_backend_v1*>(detail::BackendTable<T>::GetInterface(CSB_BACKEND_V1));
  }

 private:
  csb_backend* self_ = nullptr;
  csb_error error_{sizeof(csb_error), 0, 0, 0, {}, {}};
  csb_status code_ = CSB_OK;
};

}  // namespace csb::testing

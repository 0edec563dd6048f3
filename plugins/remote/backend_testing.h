// SPDX-License-Identifier: Apache-2.0
//
// backend_testing.h: for tests: the backend in front of fake_service.h, as a host has it.
//
//   FakeService service(kFullDocument);
//   Start(service);
//   EXPECT_EQ(Shell()->code(), CSB_OK);
#pragma once

#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <utility>

#include "clara_sandbox/testing/fake_service.h"
#include "clara_sandbox/testing/recorder.h"
#include "plugins/common/json_testing.h"
#include "plugins/remote/backend.h"
#include "plugins/remote/fake_service.h"

namespace csb::remote {

using csb::testing::BackendHarness;
using csb::testing::FakeHost;
using csb::testing::Recorder;

inline constexpr char kShell[] = "POST /sandbox/alice/shell ";
inline constexpr char kWrite[] = "POST /sandbox/alice/file";

class RemoteBackendTest : public ::testing::Test {
 protected:
  void Start(FakeHost::Options options) {
    host_ = std::make_unique<FakeHost>(std::move(options));
    backend_ = std::make_unique<BackendHarness<RemoteBackend>>(*host_);
    ASSERT_EQ(backend_->code(), CSB_OK) << backend_->error().message;
  }
  void Start(const FakeService& service) {
    Start({{"remote.url", service.url()}, {"remote.api_key", "s3cret"}});
  }
  std::unique_ptr<Recorder> Begin(Request request, Recorder::Credit credit = Recorder::Credit::kAutomatic) {
    if (request.user.empty() && request.op != CSB_OP_PROBE) request.user = "alice";
    return std::make_unique<Recorder>(backend_->table(), backend_->self(), request, credit);
  }
  // To its end.
  std::unique_ptr<Recorder> Do(Request request) {
    auto op = Begin(std::move(request));
    EXPECT_TRUE(op->Wait());
    EXPECT_THAT(op->violations(), ::testing::IsEmpty());
    return op;
  }
  std::unique_ptr<Recorder> Shell(const char* payload = R"({"command":"c"})") {
    return Do({.op = CSB_OP_SHELL, .payload = payload});
  }
  json::Document Probe() {
    const auto op = Do({.op = CSB_OP_PROBE});
    EXPECT_EQ(op->code(), CSB_OK);
    return Json(op->result());
  }
  // Of a service that can't be used.
  std::string WhyNot() {
    const auto probe = Probe();
    EXPECT_EQ(json::GetBool(probe, "available"), false);
    EXPECT_NE(json::GetString(probe, "hint").value_or(""), "");
    return std::string(json::GetString(probe, "reason").value_or(""));
  }

  std::unique_ptr<FakeHost> host_;
  std::unique_ptr<BackendHarness<RemoteBackend>> backend_;
};

}  // namespace csb::remote

// SPDX-License-Identifier: Apache-2.0
//
// fixture.h: a service over fake backends "docker" and "bubblewrap", with short times.
//
//   class MyTest : public ServiceTest {};
//   TEST_F(MyTest, X) { Start(); EXPECT_EQ(Shell(*service, "alice")->Wait().code, CSB_OK); }
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "clara_sandbox/cpp/json.h"
#include "host/plugin/fake_services.h"
#include "host/service/service.h"
#include "host/service/testing/client.h"
#include "host/service/testing/fake_backend.h"

namespace csb::host {

using namespace std::chrono_literals;

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() {
    // Records are fsynced; a busy disk would make the tests wait.
    std::string folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : testing::TempDir();
    folder += "csb-service-XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << folder;
    options.state_dir = folder;
    options.breaker_open = 100ms;
    options.record_flush = 20ms;
    options.max_sandboxes = 1000;
    options.guard.deadline_grace = 100ms;
    options.guard.cancel_grace = 200ms;
  }
  ~ServiceTest() override {
    service.reset();
    timers.Stop();
    std::error_code ec;
    std::filesystem::remove_all(options.state_dir, ec);
  }

  // idle: seconds, as NAME.timeout has it.
  void Make(const std::string& idle = "900") {
    services = std::make_unique<FakeServices>(std::map<std::string, std::string, std::less<>>{
        {"docker.timeout", idle}, {"bubblewrap.timeout", idle}, {"log.level", "debug"}});
    docker = std::make_unique<FakeBackend>("docker", *services);
    bubblewrap = std::make_unique<FakeBackend>("bubblewrap", *services);
  }
  void Start() {
    if (!docker) Make();
    metrics = std::make_unique<Metrics>(std::vector<std::string>{"docker", "bubblewrap"}, "1.2.3");
    service = std::make_unique<Service>(
        options, std::vector<BackendInstance*>{docker->instance(), bubblewrap->instance()}, *services,
        services->workers(), timers, *metrics);
    const auto s = service->Start();
    ASSERT_TRUE(s) << s.error().message;
  }
  // As after a crash or a new start of the host; the backends go on.
  void Restart() {
    service.reset();
    Start();
  }
  json::Document Json(const std::string& text) {
    auto doc = json::ParseObject(text);
    EXPECT_TRUE(doc) << text;
    return doc ? *std::move(doc) : json::Document();
  }
  template <typename F>
  static bool Eventually(F f) {
    const auto give_up = std::chrono::steady_clock::now() + 30s;
    do {
      if (f()) return true;
      std::this_thread::sleep_for(5ms);
    } while (std::chrono::steady_clock::now() < give_up);
    return false;
  }
  double active() {
    return json::GetNumber(Json(Ask(*service, CSB_OP_INFO, "")->Wait().result), "active_sandboxes")
        .value_or(-1);
  }

  ServiceOptions options;
  Timers timers;
  std::unique_ptr<FakeServices> services;
  std::unique_ptr<FakeBackend> docker, bubblewrap;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Service> service;
};

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
//
// Random operations of many users from many threads, while the backends fail, lose sandboxes and
// stop idle ones. What always holds: every operation ends exactly once (client.h), no two life-cycle
// steps of a user overlap (fake_backend.h), no user is on two backends, never more sandboxes than allowed.
#include <random>
#include <thread>

#include "host/service/testing/fixture.h"

namespace csb::host {
namespace {

class PropertyTest : public ServiceTest, public testing::WithParamInterface<unsigned> {};

TEST_P(PropertyTest, InvariantsHold) {
  constexpr int kUsers = 12, kThreads = 4, kSteps = 150;
  options.max_sandboxes = 6;
  options.allow_choice = {"all"};
  options.breaker_failures = 2;  // and probes that are always good: it never opens
  options.breaker_trust = 1ms;
  Make(GetParam() % 2 == 0 ? "0.003" : "900");
  Start();
  std::vector<std::thread> threads;
  std::atomic<int> ok{0};
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(GetParam() * 100 + static_cast<unsigned>(t));
      const auto roll = [&](unsigned n) { return random() % n; };
      std::vector<std::shared_ptr<Reply>> open;
      for (int i = 0; i < kSteps; ++i) {
        const std::string user = "u" + std::to_string(roll(kUsers));
        switch (roll(16)) {
          case 0:
            open.push_back(Ask(*service, CSB_OP_CREATE, user));
            break;
          case 1:
            open.push_back(Ask(*service, CSB_OP_CREATE, user,
                               roll(2) ? R"({"backend":"docker"})" : R"({"backend":"bubblewrap"})"));
            break;
          case 2:
            open.push_back(Ask(*service, CSB_OP_STOP, user));
            break;
          case 3:
            open.push_back(Ask(*service, CSB_OP_RESTART, user));
            break;
          case 4:
            open.push_back(Ask(*service, CSB_OP_DESTROY, user));
            break;
          case 5:
            open.push_back(Ask(*service, CSB_OP_STATUS, user));
            break;
          case 6:
            open.push_back(Ask(*service, roll(2) ? CSB_OP_LIST : CSB_OP_HEALTH, ""));
            break;
          case 7:
            (roll(2) ? docker : bubblewrap)->Lose(user);
            break;
          case 8: {
            const uint32_t ops[] = {CSB_OP_CREATE, CSB_OP_STOP, CSB_OP_SHELL, CSB_OP_RESTART};
            const csb_status codes[] = {CSB_E_UNAVAILABLE, CSB_E_GONE, CSB_E_NO_SANDBOX, CSB_E_INTERNAL,
                                        CSB_E_DEADLINE};
            const uint32_t op = ops[roll(4)];
            auto& backend = roll(2) ? docker : bubblewrap;
            if (roll(2))
              backend->Fail(op, Error{codes[roll(5)], "random", "", true});
            else
              backend->FailSubmit(op, Error{codes[roll(5)], "random", "", true});
            std::this_thread::sleep_for(std::chrono::microseconds(roll(500)));
            backend->Fail(op, std::nullopt);
            backend->FailSubmit(op, std::nullopt);
            break;
          }
          default:
            open.push_back(Shell(*service, user, {.deadline = roll(4) == 0 ? 20ms : 0ms}));
            break;
        }
        if (roll(5) == 0 && !open.empty()) open[roll(static_cast<unsigned>(open.size()))]->Cancel();
        if (open.size() > 8) {
          for (auto& r : open) ok += r->Wait().code == CSB_OK ? 1 : 0;
          open.clear();
        }
      }
      for (auto& r : open) r->Wait();
    });
  for (auto& t : threads) t.join();
  EXPECT_GT(ok.load(), 50);
  for (int u = 0; u < kUsers; ++u) {
    const std::string user = "u" + std::to_string(u);
    EXPECT_FALSE(docker->Live(user) && bubblewrap->Live(user)) << user << " is on both";
  }
  for (const auto& line : services->lines()) EXPECT_EQ(line.find("is left alone"), std::string::npos) << line;
  // What is live at the service is live at a backend, and the places add up.
  ASSERT_TRUE(Eventually([&] { return active() <= 6; }));
  service->Drain(5s);
}

// Without failures that only the backend knows of, its own count tells.
TEST_P(PropertyTest, NeverMoreSandboxesThanAllowed) {
  options.max_sandboxes = 3;
  options.mode = "docker";
  Make("0.01");
  Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(GetParam() * 1000 + static_cast<unsigned>(t));
      const auto roll = [&](unsigned n) { return random() % n; };
      for (int i = 0; i < 60; ++i) {
        const std::string user = "u" + std::to_string(roll(8));
        const uint32_t ops[] = {CSB_OP_CREATE, CSB_OP_RESTART, CSB_OP_STOP, CSB_OP_DESTROY};
        auto reply = roll(3) == 0 ? Ask(*service, ops[roll(4)], user) : Shell(*service, user);
        if (roll(4) == 0) reply->Cancel();
        const csb_status code = reply->Wait().code;
        EXPECT_TRUE(code == CSB_OK || code == CSB_E_NO_CAPACITY || code == CSB_E_CANCELLED ||
                    code == CSB_E_NOT_FOUND)
            << code << " " << reply->message;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_LE(docker->most_live(), 3);
  EXPECT_EQ(bubblewrap->count(CSB_OP_CREATE), 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PropertyTest, testing::Range(1u, 7u));

}  // namespace
}  // namespace csb::host

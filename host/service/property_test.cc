// SPDX-License-Identifier: Apache-2.0
//
// Random operations of many users from many threads, while the backends fail, lose sandboxes and
// stop idle ones. What always holds: every operation ends exactly once (client.h), no two life-cycle
// steps of a user overlap (fake_backend.h), no user is on two backends, never more sandboxes than allowed.
// And whatever moves users meanwhile: nobody is served but where the files are.
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <shared_mutex>
#include <thread>

#include "host/service/record.h"
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
  const bool idle_stops = GetParam() % 2 == 0;
  Make(idle_stops ? "0.003" : "900");
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
  // More than are allowed may live, where a backend that called one gone is found to have it still. The
  // places add up all the same: each is given back with its sandbox.
  for (int u = 0; u < kUsers; ++u) {
    auto stop = Ask(*service, CSB_OP_STOP, "u" + std::to_string(u));
    EXPECT_EQ(stop->Wait().code, CSB_OK) << stop->message;
  }
  EXPECT_EQ(active(), 0);
  for (int u = 0; u < 6; ++u) {
    auto create = Ask(*service, CSB_OP_CREATE, "u" + std::to_string(u));
    EXPECT_EQ(create->Wait().code, CSB_OK) << create->message;
  }
  if (!idle_stops) {
    EXPECT_EQ(active(), 6);
    EXPECT_EQ(Ask(*service, CSB_OP_CREATE, "u6")->Wait().code, CSB_E_NO_CAPACITY);
  }
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

// Where each user's files are, as the world outside would tell.
struct Truth {
  std::mutex mutex;
  std::map<std::string, std::string> home;  // by user; absent: nowhere yet
  std::set<std::string> moving;
  std::vector<std::string> faults;

  // What a backend sees. Under its lock.
  void See(const std::string& backend, const std::string& user, uint32_t op) {
    const std::lock_guard lock(mutex);
    const auto at = home.find(user);
    if (op == CSB_OP_DESTROY) {
      if (at != home.end() && at->second == backend) home.erase(at);
    } else if (moving.contains(user)) {
      faults.push_back(user + " was served on " + backend + " during a move");
    } else if (at == home.end()) {
      home[user] = backend;
    } else if (at->second != backend) {
      faults.push_back(user + " was served on " + backend + ", the files are on " + at->second);
    }
  }
};

// Backends go and come, the host starts anew, users are moved by another process, purged, stopped: each is
// only ever served where the files are.
TEST_P(PropertyTest, NoUserIsEverServedByTwoBackends) {
  constexpr int kUsers = 8, kThreads = 3, kSteps = 120;
  options.probe_refresh = 10ms;
  options.breaker_open = 5ms;
  Make(GetParam() % 2 == 0 ? "0.005" : "900");
  Truth truth;
  docker->Watch([&](const std::string& u, uint32_t op) { truth.See("docker", u, op); });
  bubblewrap->Watch([&](const std::string& u, uint32_t op) { truth.See("bubblewrap", u, op); });
  Start();
  std::shared_mutex host;  // restarts alone
  std::atomic<int> ok{0}, moves{0}, restarts{0};
  std::atomic<bool> over{false};
  const auto name_of = [](unsigned u) { return "u" + std::to_string(u); };

  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(GetParam() * 10000 + static_cast<unsigned>(t));
      const auto roll = [&](unsigned n) { return random() % n; };
      for (int i = 0; i < kSteps; ++i) {
        const std::string user = name_of(roll(kUsers));
        const std::shared_lock lock(host);
        const unsigned what = roll(12);
        auto reply = what == 0   ? Ask(*service, CSB_OP_STOP, user)
                     : what == 1 ? Ask(*service, CSB_OP_DESTROY, user, roll(2) ? "{}" : R"({"purge":true})")
                     : what == 2 ? Ask(*service, CSB_OP_RESTART, user)
                     : what == 3 ? Ask(*service, CSB_OP_STATUS, user)
                     : what == 4 ? Ask(*service, CSB_OP_CREATE, user)
                                 : Shell(*service, user);
        ok += reply->Wait().code == CSB_OK ? 1 : 0;
      }
    });
  // Another process, which does as host/move does.
  std::thread mover([&] {
    const RecordStore records(options.state_dir, [](const std::string&) {});
    std::mt19937 random(GetParam());
    while (!over.load()) {
      std::this_thread::sleep_for(1ms);
      const std::string user = name_of(random() % kUsers);
      auto lock = records.LockMove(user);
      const auto record = records.Load(user);
      if (!lock || !record || record->backend.empty()) continue;
      if (!record->moved_from.empty()) {
        (record->moved_from == "docker" ? docker : bubblewrap)->Drop(user);
        ASSERT_TRUE(records.Update(user, [](UserRecord& r) { r.moved_from.clear(); }));
        continue;
      }
      const bool to_docker = record->backend == "bubblewrap";
      FakeBackend& from = to_docker ? *bubblewrap : *docker;
      FakeBackend& to = to_docker ? *docker : *bubblewrap;
      from.Lose(user, [&] {
        const std::lock_guard hold(truth.mutex);
        truth.moving.insert(user);
      });
      ASSERT_TRUE(
          records.Update(user, [&](UserRecord& r) { r.moving_to = to_docker ? "docker" : "bubblewrap"; }));
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
      const bool fails = random() % 3 == 0;
      if (!fails) to.Put(user, false);
      ASSERT_TRUE(records.Update(user, [&](UserRecord& r) {
        r.moving_to.clear();
        if (fails) return;
        r.moved_from = to_docker ? "bubblewrap" : "docker";
        r.backend = to_docker ? "docker" : "bubblewrap";
      }));
      from.Lose(user, [&] {
        const std::lock_guard hold(truth.mutex);
        truth.moving.erase(user);
        if (!fails) truth.home[user] = to_docker ? "docker" : "bubblewrap";
      });
      moves += fails ? 0 : 1;
    }
  });
  std::thread weather([&] {
    std::mt19937 random(GetParam() + 77);
    while (!over.load()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3 + random() % 10));
      auto& backend = random() % 2 ? docker : bubblewrap;
      const uint32_t ops[] = {CSB_OP_CREATE, CSB_OP_SHELL, CSB_OP_LIST, CSB_OP_PROBE, CSB_OP_STOP};
      backend->SetAvailable(false, "down");
      for (uint32_t op : ops) backend->Fail(op, Error{CSB_E_UNAVAILABLE, "down", "", true});
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 10));
      backend->SetAvailable(true);
      for (uint32_t op : ops) backend->Fail(op, std::nullopt);
      if (random() % 4 == 0) {
        const std::unique_lock lock(host);
        Restart();
        ++restarts;
      }
    }
  });
  for (auto& t : threads) t.join();
  over = true;
  mover.join();
  weather.join();
  for (unsigned u = 0; u < kUsers; ++u)
    EXPECT_TRUE(Eventually([&] { return Shell(*service, name_of(u))->Wait().code == CSB_OK; })) << u;
  EXPECT_GT(ok.load(), 20);
  EXPECT_GT(moves.load(), 3);
  EXPECT_GT(restarts.load(), 0);
  service.reset();
  const std::lock_guard lock(truth.mutex);
  EXPECT_EQ(truth.faults, std::vector<std::string>{});
}

INSTANTIATE_TEST_SUITE_P(Seeds, PropertyTest, testing::Range(1u, 7u));

}  // namespace
}  // namespace csb::host

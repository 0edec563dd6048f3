// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/watcher.h"

#include "plugins/docker/engine_json.h"
#include "plugins/docker/fake_engine_fixture.h"

namespace csb::docker {
namespace {

class WatcherTest : public FakeEngineTest {
 protected:
  void SetUp() override {
    host_ = Start();
    ASSERT_TRUE(host_->engine->Info(std::chrono::seconds(5)));
    watcher_ =
        std::make_unique<Watcher>(host_->host.ref(), *host_->reactor, *host_->engine, *host_->registry);
    watcher_->Start();
    ASSERT_TRUE(engine_.WaitForListener());
    auto sandbox = host_->Create("alice");
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    sandbox_ = *sandbox;
    id_ = sandbox_->live().container;
  }
  void TearDown() override {
    watcher_.reset();
    sandbox_.reset();
    host_.reset();
  }

  HostPtr host_;
  std::unique_ptr<Watcher> watcher_;
  std::shared_ptr<Sandbox> sandbox_;
  std::string id_;
};

TEST_F(WatcherTest, ADeathIsSeen) {
  engine_.End(id_);
  EXPECT_TRUE(Becomes([&] { return sandbox_->over() && host_->registry->Find("alice") == nullptr; }));
  // Whoever comes next gets a new one with the same files.
  const auto next = host_->Create("alice");
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_NE((*next)->live().container, id_);
  EXPECT_EQ(engine_.Of(NameOf("alice")).volume, NameOf("alice"));
}

TEST_F(WatcherTest, APauseIsSeenAndItsEnd) {
  engine_.Event(id_, "pause");
  EXPECT_TRUE(Becomes([&] { return sandbox_->paused(); }));
  EXPECT_FALSE(sandbox_->channel());
  EXPECT_FALSE(sandbox_->over());
  engine_.Event(id_, "unpause");
  EXPECT_TRUE(Becomes([&] { return sandbox_->channel() != nullptr; }));
}

TEST_F(WatcherTest, WhatHappenedWhileNobodyWatchedIsFoundOut) {
  const auto bob = host_->Create("bob");
  ASSERT_TRUE(bob) << bob.error().message;
  engine_.SetDown(true);
  engine_.CutEvents();
  engine_.SetStatus(id_, "paused");
  engine_.SetStatus((*bob)->live().container, "exited");
  engine_.SetDown(false);
  EXPECT_TRUE(Becomes([&] { return sandbox_->paused(); }));
  EXPECT_TRUE(Becomes([&] { return (*bob)->over(); }));
  EXPECT_FALSE(sandbox_->over());
  // And it watches again.
  ASSERT_TRUE(engine_.WaitForListener());
  engine_.Event(id_, "unpause");
  EXPECT_TRUE(Becomes([&] { return !sandbox_->paused(); }));
}

TEST_F(WatcherTest, OthersEventsChangeNothing) {
  engine_.Event("another", "die");
  engine_.Event("", "destroy");
  engine_.Event(id_, "exec_create: /run/clara/agent");
  engine_.RawEvent(
      "not json\n[1]\n{\"Action\":7,\"Actor\":[]}\n{\"Action\":\"die\",\"Actor\":{\"ID\":{}}}\n{}\n");
  engine_.Event(id_, "pause");
  EXPECT_TRUE(Becomes([&] { return sandbox_->paused(); }));
  EXPECT_FALSE(sandbox_->over());
}

TEST_F(WatcherTest, AnEndlessLineIsCutAndTheStreamOpenedAgain) {
  engine_.RawEvent(std::string(JsonLines::kMaxLine + 1, 'x'));
  EXPECT_TRUE(Becomes([&] { return engine_.Count("GET /events") >= 2; }));
  EXPECT_FALSE(sandbox_->over());
}

TEST_F(WatcherTest, NothingIsToldAfterItsEnd) {
  std::thread noise([&] {
    for (int i = 0; i < 200; ++i) engine_.Event(id_, i % 2 == 0 ? "pause" : "unpause");
  });
  watcher_.reset();
  host_->registry.reset();
  noise.join();
}

}  // namespace
}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
//
// engine.h on a real engine, as tests/engines/incus.sh tells of it: CSB_TEST_INCUS_SOCKET,
// CSB_TEST_INCUS_IMAGE, CSB_TEST_INCUS_POOL. Skipped without them, unless CSB_MUST_RUN names incus.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <thread>

#include "plugins/incus/engine.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr auto kLimit = 30s;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class EngineReal : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string socket = Env("CSB_TEST_INCUS_SOCKET");
    image_ = Env("CSB_TEST_INCUS_IMAGE");
    pool_ = Env("CSB_TEST_INCUS_POOL");
    if (socket.empty() || image_.empty() || pool_.empty()) {
      ASSERT_EQ(("," + Env("CSB_MUST_RUN") + ",").find(",incus,"), std::string::npos)
          << "CSB_MUST_RUN names incus, and there is no engine";
      GTEST_SKIP() << "no engine: see tests/engines/README.md";
    }
    static std::atomic<int> next{0};
    name_ = "csb-test-" + std::to_string(::getpid()) + "-" + std::to_string(next++);
    engine_ = Make(socket, "default");
  }
  void TearDown() override {
    if (!engine_) return;
    EXPECT_TRUE(engine_->DeleteInstance(name_, kLimit));
    EXPECT_TRUE(engine_->DeleteVolume(pool_, name_, "", kLimit));
    EXPECT_TRUE(engine_->DeleteProfile(name_, kLimit));
  }
  std::unique_ptr<Engine> Make(const std::string& socket, const std::string& project) {
    auto client = HttpClient::Create(*reactor_, {.url = "http://incus", .unix_socket = socket});
    EXPECT_TRUE(client) << client.error().message;
    return std::make_unique<Engine>(*reactor_, *std::move(client), project);
  }
  std::string Body(const std::string& image, const std::string& type = "container") {
    return R"({"name":")" + name_ + R"(","type":")" + type + R"(","start":true,"profiles":[],"source":{)" +
           R"("type":"image","alias":")" + image + R"("},"config":{"user.csb-test":")" + name_ +
           R"(","raw.lxc":"lxc.init.cmd = /bin/sleep 600"},"devices":{"root":{"type":"disk","pool":")" +
           pool_ + R"(","path":"/"}}})";
  }
  static std::string Words(const Status& s) { return s ? "" : s.error().message; }
  template <typename T>
  static csb_status Code(const Result<T>& r) {
    return r ? CSB_OK : r.error().code;
  }

  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("engine-real");
  std::string image_, pool_, name_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineReal, TellsWhatItIs) {
  const auto info = engine_->Info(kLimit);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_THAT(info->version, ::testing::StartsWith("6."));
  EXPECT_TRUE(info->trusted);
  EXPECT_FALSE(info->clustered);
  EXPECT_EQ(info->name, "none");
  EXPECT_EQ(info->fingerprint.size(), 64u);
  EXPECT_EQ(info->project, "default");
  EXPECT_THAT(info->drivers, HasSubstr("lxc"));
  EXPECT_TRUE(info->Has("container_exec_recording"));
  EXPECT_FALSE(info->Has("container_exec"));
  const auto members = engine_->Members(kLimit);
  ASSERT_TRUE(members);
  EXPECT_THAT(*members, IsEmpty());
  EXPECT_THAT(engine_->Load("nobody", kLimit).error().message, HasSubstr("not clustered"));
}

TEST_F(EngineReal, AnInstanceFromItsBeginToItsEnd) {
  const Status made = engine_->CreateInstance(Body(image_), "", kLimit);
  ASSERT_TRUE(made) << Words(made);
  EXPECT_EQ(Code(engine_->CreateInstance(Body(image_), "", kLimit)), CSB_E_CONFLICT);

  auto info = engine_->Instance(name_, kLimit);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->name, name_);
  EXPECT_EQ(info->type, "container");
  EXPECT_EQ(info->status, "Running");
  EXPECT_TRUE(info->alive());
  EXPECT_EQ(info->location, "none");
  EXPECT_EQ(info->Get("user.csb-test"), name_);
  EXPECT_EQ(info->devices.at("root").at("pool"), pool_);
  EXPECT_FALSE(info->etag.empty());

  const auto state = engine_->State(name_, kLimit);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->status, "Running");
  EXPECT_EQ(state->processes, 1);
  EXPECT_GT(state->pid, 1);
  EXPECT_EQ(::kill(state->pid, 0), 0);
  EXPECT_GT(state->memory, 0u);

  const auto ours = engine_->Instances("user.csb-test", name_, kLimit);
  ASSERT_TRUE(ours);
  ASSERT_THAT(*ours, SizeIs(1));
  EXPECT_EQ(ours->front().name, name_);
  EXPECT_FALSE(ours->front().devices.empty());
  EXPECT_THAT(*engine_->Instances("user.csb-test", name_ + "0", kLimit), IsEmpty());
  EXPECT_THAT(*engine_->Instances("user.csb-test", "two words \"", kLimit), IsEmpty());

  // A change merges, and is refused when something changed since.
  ASSERT_TRUE(engine_->PatchInstance(name_, {{"user.a", "1"}, {"user.b", "two words \xC3\xA4\n"}}, info->etag,
                                     kLimit));
  const Status late = engine_->PatchInstance(name_, {{"user.a", "2"}}, info->etag, kLimit);
  EXPECT_EQ(Code(late), CSB_E_CONFLICT) << Words(late);
  ASSERT_TRUE(engine_->PatchInstance(name_, {{"user.a", ""}}, "", kLimit));
  info = engine_->Instance(name_, kLimit);
  EXPECT_EQ(info->Get("user.a"), "");
  EXPECT_EQ(info->Get("user.b"), "two words \xC3\xA4\n");
  EXPECT_EQ(info->Get("user.csb-test"), name_);
  EXPECT_THAT(*engine_->Instances("user.b", "two words \xC3\xA4\n", kLimit), SizeIs(1));

  // What it is to become, it may be already.
  EXPECT_TRUE(engine_->ChangeState(name_, "start", false, kLimit));
  EXPECT_TRUE(engine_->ChangeState(name_, "unfreeze", false, kLimit));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(engine_->ChangeState(name_, "freeze", false, kLimit));
  EXPECT_EQ(engine_->Instance(name_, kLimit)->status, "Frozen");
  EXPECT_THAT(engine_->Run(name_, {"true"}, kLimit).error().message, HasSubstr("frozen"));
  EXPECT_TRUE(engine_->ChangeState(name_, "unfreeze", false, kLimit));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(engine_->ChangeState(name_, "stop", true, kLimit));
  EXPECT_EQ(engine_->Instance(name_, kLimit)->status, "Stopped");
  EXPECT_FALSE(engine_->ChangeState(name_, "freeze", false, kLimit));
  EXPECT_TRUE(engine_->ChangeState(name_, "start", false, kLimit));

  // A frozen one, too, is deleted at once; one that is gone is no error.
  EXPECT_TRUE(engine_->ChangeState(name_, "freeze", false, kLimit));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(engine_->DeleteInstance(name_, kLimit));
  EXPECT_EQ(Code(engine_->Instance(name_, kLimit)), CSB_E_NOT_FOUND);
  EXPECT_EQ(Code(engine_->State(name_, kLimit)), CSB_E_NOT_FOUND);
  EXPECT_EQ(Code(engine_->ChangeState(name_, "start", false, kLimit)), CSB_E_NOT_FOUND);
  EXPECT_EQ(Code(engine_->PatchInstance(name_, {{"user.a", "1"}}, "", kLimit)), CSB_E_NOT_FOUND);
}

TEST_F(EngineReal, FilesAndCommands) {
  ASSERT_TRUE(engine_->CreateInstance(Body(image_), "", kLimit));
  auto ran = engine_->Run(name_, {"sh", "-c", "echo out; echo err >&2; id -u; exit 3"}, kLimit);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->exit_code, 3);
  EXPECT_EQ(ran->out, "out\n0\n");
  EXPECT_EQ(ran->err, "err\n");
  EXPECT_EQ(engine_->Run(name_, {"/no/such/command"}, kLimit)->exit_code, 127);
  ran = engine_->Run(name_, {"sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"}, kLimit);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->out, std::string(64 << 10, 'x'));

  const std::string bytes("a\0b\xFF\n", 5);
  for (int i = 0; i < 2; ++i) {
    const Status folder = engine_->MakeFolder(name_, "/opt/a b", 0700, kLimit);
    ASSERT_TRUE(folder) << Words(folder);
    const Status file = engine_->PutFile(name_, "/opt/a b/x&y", 0751, bytes, kLimit);
    ASSERT_TRUE(file) << Words(file);
  }
  ran = engine_->Run(name_, {"sh", "-c", "cat '/opt/a b/x&y'; stat -c '%a %u %g' '/opt/a b' '/opt/a b/x&y'"},
                     kLimit);
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->out, bytes + "700 0 0\n751 0 0\n");
  EXPECT_TRUE(engine_->PutFile(name_, "/opt/empty", 0600, "", kLimit));
  EXPECT_EQ(engine_->Run(name_, {"stat", "-c", "%s", "/opt/empty"}, kLimit)->out, "0\n");
  EXPECT_EQ(Code(engine_->PutFile(name_, "/opt/no/file", 0600, "x", kLimit)), CSB_E_NOT_FOUND);
  EXPECT_EQ(Code(engine_->MakeFolder(name_, "/opt/no/folder", 0700, kLimit)), CSB_E_NOT_FOUND);

  // A command that does not end within the limit.
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(Code(engine_->Run(name_, {"sleep", "60"}, 1500ms)), CSB_E_DEADLINE);
  EXPECT_LT(std::chrono::steady_clock::now() - before, 10s);
  EXPECT_THAT(engine_->Run(name_ + "0", {"true"}, kLimit).error().message, HasSubstr("not found"));
}

TEST_F(EngineReal, WhatCantBeMadeIsToldWhy) {
  Status made = engine_->CreateInstance(Body("no-such-image"), "", kLimit);
  EXPECT_EQ(Code(made), CSB_E_NOT_FOUND) << Words(made);
  made = engine_->CreateInstance(Body(image_, "virtual-machine"), "", kLimit);
  EXPECT_EQ(Code(made), CSB_E_UNSUPPORTED) << Words(made);
  EXPECT_FALSE(made.error().hint.empty());
  made = engine_->CreateInstance("{", "", kLimit);
  EXPECT_EQ(Code(made), CSB_E_UNAVAILABLE) << Words(made);
  EXPECT_FALSE(made.error().retryable);
  made = engine_->CreateInstance(Body(image_), "m9", kLimit);
  EXPECT_FALSE(made) << "there is no such member";
}

TEST_F(EngineReal, AProfileIsMadeOnce) {
  ASSERT_TRUE(engine_->CreateProfile(name_, "d", {{"user.a", "1"}}, kLimit));
  EXPECT_EQ(Code(engine_->CreateProfile(name_, "d", {}, kLimit)), CSB_E_CONFLICT);
  auto profile = engine_->Profile(name_, kLimit);
  ASSERT_TRUE(profile);
  EXPECT_EQ(profile->config, (Config{{"user.a", "1"}}));

  auto changed = *profile;
  changed.config = {{"user.b", "\xE2\x82\xAC \"2\""}};
  ASSERT_TRUE(engine_->ReplaceProfile(changed, "e", kLimit));
  const Status late = engine_->ReplaceProfile(changed, "f", kLimit);
  EXPECT_EQ(Code(late), CSB_E_CONFLICT) << Words(late);
  profile = engine_->Profile(name_, kLimit);
  EXPECT_EQ(profile->config, changed.config);
  profile->etag.clear();
  EXPECT_TRUE(engine_->ReplaceProfile(*profile, "g", kLimit));

  EXPECT_THAT(*engine_->Profiles(name_, kLimit), SizeIs(1));
  EXPECT_THAT(*engine_->Profiles(name_ + "x", kLimit), IsEmpty());
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(engine_->DeleteProfile(name_, kLimit));
  EXPECT_EQ(Code(engine_->Profile(name_, kLimit)), CSB_E_NOT_FOUND);
  EXPECT_EQ(Code(engine_->ReplaceProfile(*profile, "g", kLimit)), CSB_E_NOT_FOUND);
}

// One of many is the one: what a record of a user relies on.
TEST_F(EngineReal, OfManyCreatesOfOneProfileOneSucceeds) {
  std::atomic<int> made{0}, taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      const Status status = engine_->CreateProfile(name_, "d", {{"user.a", std::to_string(i)}}, kLimit);
      if (status) ++made;
      if (Code(status) == CSB_E_CONFLICT) ++taken;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
  EXPECT_EQ(taken, 7);
}

TEST_F(EngineReal, PoolsAndVolumes) {
  auto pool = engine_->Pool(pool_, kLimit);
  ASSERT_TRUE(pool);
  EXPECT_EQ(pool->driver, "btrfs");
  EXPECT_EQ(pool->status, "Created");
  ASSERT_TRUE(engine_->PoolSpace(&*pool, "", kLimit));
  EXPECT_GT(pool->total, pool->used);
  EXPECT_GT(pool->used, 0u);
  EXPECT_THAT(*engine_->Pools(kLimit), Not(IsEmpty()));
  EXPECT_EQ(Code(engine_->Pool("no-such-pool", kLimit)), CSB_E_NOT_FOUND);

  const Config config = {{"size", "64MiB"}, {"user.a", "1"}};
  const Status made = engine_->CreateVolume(pool_, name_, "d", config, "", kLimit);
  ASSERT_TRUE(made) << Words(made);
  EXPECT_EQ(Code(engine_->CreateVolume(pool_, name_, "d", config, "", kLimit)), CSB_E_CONFLICT);
  EXPECT_EQ(Code(engine_->CreateVolume("no-such-pool", name_, "d", config, "", kLimit)), CSB_E_NOT_FOUND);
  const auto volume = engine_->Volume(pool_, name_, "", kLimit);
  ASSERT_TRUE(volume);
  EXPECT_EQ(volume->config, config);
  EXPECT_EQ(volume->location, "none");
  EXPECT_THAT(volume->used_by, IsEmpty());
  EXPECT_THAT(*engine_->Volumes(pool_, name_, kLimit), SizeIs(1));
  EXPECT_THAT(*engine_->Volumes(pool_, name_ + "x", kLimit), IsEmpty());
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(engine_->DeleteVolume(pool_, name_, "", kLimit));
  EXPECT_EQ(Code(engine_->Volume(pool_, name_, "", kLimit)), CSB_E_NOT_FOUND);
}

TEST_F(EngineReal, AnImageByAliasAndByFingerprint) {
  const auto image = engine_->Image(image_, "container", kLimit);
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->type, "container");
  EXPECT_EQ(image->fingerprint.size(), 64u);
  EXPECT_EQ(engine_->Image(image->fingerprint, "container", kLimit)->fingerprint, image->fingerprint);
  EXPECT_EQ(engine_->Image(image->fingerprint.substr(0, 12), "container", kLimit)->fingerprint,
            image->fingerprint);
  EXPECT_EQ(Code(engine_->Image("no-such-image", "container", kLimit)), CSB_E_NOT_FOUND);
  const auto vm = engine_->Image(image_, "virtual-machine", kLimit);
  EXPECT_EQ(Code(vm), CSB_E_NOT_FOUND);
  EXPECT_THAT(vm.error().message, HasSubstr("is of type container"));
}

TEST_F(EngineReal, NetworksAndAccessLists) {
  const std::string name = "csbt" + std::to_string(::getpid() % 100000);
  const Config config = {{"ipv4.address", "10.231.7.1/24"}, {"ipv4.nat", "false"}, {"ipv6.address", "none"}};
  const Status made = engine_->CreateNetwork(name, config, kLimit);
  ASSERT_TRUE(made) << Words(made);
  EXPECT_EQ(Code(engine_->CreateNetwork(name, config, kLimit)), CSB_E_CONFLICT);
  EXPECT_TRUE(engine_->PatchNetwork(name, {{"user.a", "1"}}, kLimit));
  const auto network = engine_->Network(name, kLimit);
  ASSERT_TRUE(network);
  EXPECT_EQ(network->type, "bridge");
  EXPECT_TRUE(network->managed);
  EXPECT_EQ(network->config.at("ipv4.address"), "10.231.7.1/24");
  EXPECT_EQ(network->config.at("user.a"), "1");
  EXPECT_EQ(Code(engine_->Network("no-such-net", kLimit)), CSB_E_NOT_FOUND);
  const std::string acl = R"({"name":")" + name + R"(","egress":[],"ingress":[]})";
  for (int i = 0; i < 2; ++i) {
    const Status put = engine_->PutAcl(name, acl, kLimit);
    EXPECT_TRUE(put) << Words(put);
  }
  for (const char* path : {"/1.0/network-acls/", "/1.0/networks/"}) {
    auto gone = engine_->http().Call({.method = "DELETE", .target = engine_->WithProject(path + name)});
    ASSERT_TRUE(gone);
    EXPECT_EQ(gone->status, 200) << gone->body;
  }
}

TEST_F(EngineReal, EventsTellWhatHappens) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> told;
  const auto say = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    told.push_back(line);
    changed.notify_all();
  };
  const auto comes = [&](const std::string& line) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s,
                            [&] { return std::find(told.begin(), told.end(), line) != told.end(); });
  };
  engine_->Listen({.on_lifecycle = [&](const std::string& action, const std::string& name,
                                       const std::string&) { say(action + " " + name); },
                   .on_open = [&] { say("open"); },
                   .on_shutdown = [&] { say("shutdown"); }});
  ASSERT_TRUE(comes("open"));
  ASSERT_TRUE(engine_->CreateInstance(Body(image_), "", kLimit));
  EXPECT_TRUE(comes("instance-started " + name_));
  // An end by an event comes well before one that is asked for after a second: five of these would take 5 s.
  const auto before = std::chrono::steady_clock::now();
  for (const char* action : {"freeze", "unfreeze", "freeze", "unfreeze"})
    EXPECT_TRUE(engine_->ChangeState(name_, action, false, kLimit));
  EXPECT_EQ(engine_->Run(name_, {"echo", "x"}, kLimit)->out, "x\n");
  EXPECT_LT(std::chrono::steady_clock::now() - before, 4500ms);
  EXPECT_TRUE(comes("instance-paused " + name_));
  EXPECT_EQ(Code(engine_->CreateInstance(Body(image_), "", kLimit)), CSB_E_CONFLICT);
  EXPECT_TRUE(engine_->DeleteInstance(name_, kLimit));
  EXPECT_TRUE(comes("instance-deleted " + name_));
  engine_.reset();
  EXPECT_EQ(std::count(told.begin(), told.end(), "shutdown"), 0);
}

TEST_F(EngineReal, AProjectThatIsNotThere) {
  const auto elsewhere = Make(Env("CSB_TEST_INCUS_SOCKET"), "no such&project");
  EXPECT_EQ(Code(elsewhere->Profiles("", kLimit)), CSB_E_NOT_FOUND);
  EXPECT_EQ(Code(elsewhere->CreateProfile(name_, "", {}, kLimit)), CSB_E_NOT_FOUND);
}

}  // namespace
}  // namespace csb::incus

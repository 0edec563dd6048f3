// SPDX-License-Identifier: Apache-2.0
//
// fake_engine_fixture.h: host processes on a fake engine, in one test program.
//
//   auto a = Start();                      // sweeps nothing yet
//   auto sandbox = a->Create("alice");
//   Kill(std::move(a));                    // as with -9: what it has in the engine stays
//   auto b = Start();
//   ASSERT_TRUE(b->Sweep());
#pragma once

#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/testing/fake_host.h"
#include "plugins/common/installation.h"
#include "plugins/common/json_testing.h"
#include "plugins/common/small_file.h"
#include "plugins/docker/fake_engine.h"
#include "plugins/docker/registry.h"
#include "plugins/docker/sweeper.h"

namespace csb::docker {

// Until `holds`, which other threads bring about; false after a time in which it should have.
template <typename F>
bool Becomes(F&& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class FakeEngineTest : public ::testing::Test {
 protected:
  static constexpr char kInstallation[] = "0123456789abcdef";

  // What one host process has.
  struct Host {
    Host(const HttpEndpoint& endpoint, const Options& options, const Names& names)
        : options(options), names(names) {
      reactor = *Reactor::Create("docker-test");
      engine = std::make_unique<Engine>(*HttpClient::Create(*reactor, endpoint));
      mark.emplace(*HostMark::Make(names.hosts()));
      registry = std::make_unique<Registry>(host.ref(), *reactor, *engine, this->options, names, mark->id());
    }
    ~Host() {
      registry.reset();
      engine.reset();
    }

    Result<std::shared_ptr<Sandbox>> Create(const std::string& user, std::string_view payload = "{}") {
      return registry->Create(user, Json(payload), {});
    }
    Status Sweep() { return docker::Sweep(host.ref(), *registry); }

    Options options;
    const Names& names;
    csb::testing::FakeHost host;
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<Engine> engine;
    std::optional<HostMark> mark;
    std::unique_ptr<Registry> registry;
  };
  using HostPtr = std::unique_ptr<Host>;

  FakeEngineTest() {
    options_.image = "test:1";
    options_.channel = ChannelKind::kSocket;
    options_.agent = "/bin/true";
    options_.limits = {.memory = 64 << 20, .cpu = 1, .pids = 64};
    options_.state_dir = folder_ / "state";
    options_.runtime_dir = folder_ / "run";
    std::filesystem::create_directories(names_.records());
    std::filesystem::create_directories(names_.runtime());
  }

  HostPtr Start() { return std::make_unique<Host>(engine_.endpoint(), options_, names_); }
  void Kill(HostPtr host) {
    engine_.SetDown(true);
    host.reset();
    engine_.SetDown(false);
  }

  Labels Ours(const std::string& kind, const Labels& more = {}) {
    Labels out = {{kLabelInstallation, kInstallation}, {kLabelKind, kind}};
    out.insert(more.begin(), more.end());
    return out;
  }
  std::string NameOf(const std::string& user) { return names_.Container(KeyOf(user)); }
  std::string RecordPath(const std::string& user) { return names_.Record(KeyOf(user)); }
  // The record; an empty one when there is none.
  Record RecordOf(const std::string& user) {
    auto record = ReadRecord(RecordPath(user));
    return record ? *record : Record{};
  }
  void Write(const Record& record) { ASSERT_TRUE(WriteRecord(RecordPath(record.user), record)); }
  // A container and a volume as a create of that user makes them, without agent.
  std::string AddUsers(const std::string& user, const std::string& status) {
    const std::string name = KeyOf(user);
    const Labels labels =
        Ours("sandbox", {{kLabelUser, user}, {kLabelSlot, name}, {kLabelChannel, "socket"}});
    engine_.AddVolume(NameOf(user), labels);
    return engine_.Add({.name = NameOf(user), .status = status, .labels = labels, .volume = NameOf(user)});
  }
  std::string AddPooled(const std::string& host, int n, const std::string& status = "running") {
    const std::string name = names_.Pooled(host, static_cast<uint64_t>(n));
    const Labels labels =
        Ours("pool", {{kLabelHost, host}, {kLabelSlot, name.substr(names_.prefix().size())}});
    engine_.AddVolume(name, labels);
    return engine_.Add({.name = name, .status = status, .labels = labels, .volume = name});
  }

  const TemporaryFolder folder_;
  Names names_{folder_ / "state", folder_ / "run", "", kInstallation};
  Options options_;
  FakeEngine engine_;
};

}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
//
// fake_incus_fixture.h: host processes, of one machine or of several, on a fake server, in one test program.
//
//   auto a = Start(), b = Start(kElsewhere);
//   auto sandbox = a->Create("alice");
//   Kill(std::move(a));                    // as with -9: what it has in the engine stays
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
#include "plugins/common/rfc3339.h"
#include "plugins/incus/fake_incus.h"
#include "plugins/incus/registry.h"
#include "plugins/incus/sweeper.h"

namespace csb::incus {

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

class FakeIncusTest : public ::testing::Test {
 protected:
  static constexpr char kInstallation[] = "0123456789abcdef";
  static constexpr char kDeadHost[] = "deadbeef";
  static constexpr char kHere[] = "here", kElsewhere[] = "elsewhere";
  static constexpr char kLongAgo[] = "2020-01-01T00:00:00Z";

  // What one host process has.
  struct Host {
    Host(const HttpEndpoint& endpoint, const Options& options, const Names& names, const std::string& machine)
        : options(options), names(names) {
      reactor = *Reactor::Create("incus-test");
      engine = std::make_unique<Engine>(*reactor, *HttpClient::Create(*reactor, endpoint), "default");
      mark.emplace(*HostMark::Make(this->names.hosts()));
      registry = std::make_unique<Registry>(host.ref(), *reactor, *engine, this->options, this->names,
                                            mark->id(), machine);
    }
    ~Host() {
      registry.reset();
      engine.reset();
    }

    Result<std::shared_ptr<Sandbox>> Create(const std::string& user, std::string_view payload = "{}") {
      return registry->Create(user, Json(payload), {});
    }
    Status Sweep() { return incus::Sweep(host.ref(), *registry); }

    Options options;
    const Names names;
    csb::testing::FakeHost host;
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<Engine> engine;
    std::optional<HostMark> mark;
    std::unique_ptr<Registry> registry;
  };
  using HostPtr = std::unique_ptr<Host>;

  FakeIncusTest() {
    WriteText(folder_ / "agent", "an agent");
    options_.image = "test";
    options_.channel = ChannelKind::kExec;
    options_.agent = folder_ / "agent";
    options_.remote.project = "default";
    options_.limits = {.memory = 64 << 20, .cpu = 1, .pids = 64};
    options_.max_instances = 20;
    reactor_ = *Reactor::Create("incus-test");
    engine_ =
        std::make_unique<Engine>(*reactor_, *HttpClient::Create(*reactor_, server_.endpoint()), "default");
  }
  ~FakeIncusTest() override { engine_.reset(); }

  // Hosts of one machine share its folders and see whether each other lives.
  Names NamesOf(const std::string& machine) const {
    return {folder_ / machine + "/state", folder_ / machine + "/run", kInstallation};
  }
  HostPtr Start(const std::string& machine = kHere) {
    return std::make_unique<Host>(server_.endpoint(), options_, NamesOf(machine), machine);
  }
  void Kill(HostPtr host) {
    server_.SetDown(true);
    host.reset();
    server_.SetDown(false);
  }

  // That the record names.
  std::string InstanceOf(const std::string& user) const { return RecordOf(user).instance; }
  // As a record that the test writes names it.
  std::string InstanceOf(const std::string& user, uint64_t generation) const {
    return names_.Instance(KeyOf(user), generation);
  }
  std::string VolumeOf(const std::string& user) const { return names_.Volume(KeyOf(user)); }
  // The record; an empty one when there is none.
  Record RecordOf(const std::string& user) const {
    auto record = Records(*engine_, names_).Read(KeyOf(user));
    return record ? *record : Record{};
  }
  // Nothing of any user is in the engine.
  void ExpectNothing(const std::string& when) {
    EXPECT_TRUE(Becomes([&] { return server_.Instances().empty(); })) << when;
    EXPECT_EQ(server_.volumes(), 0u) << when;
    EXPECT_EQ(server_.profiles(), 0u) << when;
  }
  bool HasRecord(const std::string& user) const { return server_.HasProfile(names_.Record(KeyOf(user))); }
  Record NewRecord(const std::string& user) const {
    return {.user = user,
            .instance = InstanceOf(user, 1),
            .generation = 1,
            .pool = "default",
            .volume = VolumeOf(user),
            .member = "",
            .created_at = Rfc3339Now(),
            .image = "test",
            .limits = options_.limits,
            .etag = {}};
  }
  void Write(const Record& record) {
    server_.Add(
        ProfileInfo{names_.Record(KeyOf(record.user)), incus::ConfigOf(record, kInstallation), "", {}});
  }
  Config Ours(const std::string& kind, const Config& more = {}) const {
    Config out = {{kKeyInstallation, kInstallation}, {kKeyKind, kind}};
    out.insert(more.begin(), more.end());
    return out;
  }
  void AddVolume(const std::string& user) {
    server_.Add(FakeIncus::Volume{.name = VolumeOf(user), .config = Ours("workspace", {{kKeyUser, user}})});
  }
  static Devices Workspace(const std::string& volume) {
    return {{"workspace", {{"type", "disk"}, {"pool", "default"}, {"source", volume}}}};
  }
  // An instance, its volume and its record as a create of that user makes them. Status "new": not started.
  std::string AddUsers(const std::string& user, const std::string& status,
                       const std::string& host = kDeadHost, const std::string& machine = kHere) {
    AddVolume(user);
    Write(NewRecord(user));
    Config config = Ours("sandbox", {{kKeyUser, user}, {kKeyHost, host}, {kKeyMachine, machine}});
    if (status != "new") config["volatile.last_state.power"] = status == "Running" ? "RUNNING" : "STOPPED";
    server_.Add({.name = InstanceOf(user),
                 .status = status == "new" ? "Stopped" : status,
                 .config = config,
                 .devices = Workspace(VolumeOf(user))});
    return InstanceOf(user);
  }
  std::string AddPooled(const std::string& host, uint64_t n, const std::string& machine = kHere,
                        const std::string& status = "Running", const std::string& created = "") {
    const std::string name = names_.Pooled(host, n);
    const Config config = Ours("pool", {{kKeyHost, host}, {kKeyMachine, machine}});
    server_.Add(FakeIncus::Volume{.name = name, .config = config, .created = created});
    server_.Add(
        {.name = name, .status = status, .config = config, .devices = Workspace(name), .created = created});
    return name;
  }

  const TemporaryFolder folder_;
  const Names names_ = NamesOf(kHere);
  Options options_;
  FakeIncus server_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace csb::incus

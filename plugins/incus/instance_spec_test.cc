// SPDX-License-Identifier: Apache-2.0
//
// What an instance may do is decided by the body of its create: each line of it that protects somebody is
// asserted here, and that nothing stands there that would undo it.
#include "plugins/incus/instance_spec.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <sstream>

#include "plugins/common/json_testing.h"

namespace csb::incus {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class InstanceSpecTest : public ::testing::Test {
 protected:
  InstanceSpecTest() {
    options_.agent = "/opt/agent";
    spec_.name = "clara-01234567-ab-1";
    spec_.image = {.fingerprint = "0b2a0b2a0b2a", .local = true};
    spec_.limits = {.memory = 512 << 20, .cpu = 0.5, .pids = 64};
    spec_.labels = {{"user.clara-sandbox.user", "alice"}};
    spec_.control = "/run/csb/ab-1/ctl";
    spec_.tools = "/run/csb/tools/1f";
    spec_.pool = "fast";
    spec_.volume = "clara-01234567-ab";
  }
  void Make() { body_ = Json(InstanceBody(options_, spec_)); }

  std::string Config(const char* key) {
    const json::Value* v = json::Find(body_["config"], key);
    return v == nullptr ? "(none)" : v->GetString();
  }
  std::string Device(const char* name, const char* key) {
    const json::Value* device = json::Find(body_["devices"], name);
    const json::Value* v = device == nullptr ? nullptr : json::Find(*device, key);
    return v == nullptr ? "(none)" : v->GetString();
  }
  static std::vector<std::string> Members(const json::Value& object) {
    std::vector<std::string> out;
    for (const auto& member : object.GetObject()) out.emplace_back(member.name.GetString());
    return out;
  }
  std::vector<std::string> Lines() {
    std::vector<std::string> out;
    std::istringstream in(Config("raw.lxc"));
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
  }
  // The words of the command that LXC runs as process 1.
  std::vector<std::string> Init() {
    std::vector<std::string> out;
    for (const std::string& line : Lines()) {
      if (!line.starts_with("lxc.init.cmd = ")) continue;
      std::istringstream in(line.substr(15));
      for (std::string word; in >> word;) out.push_back(word);
    }
    return out;
  }
  static std::string After(const std::vector<std::string>& words, const std::string& option) {
    const auto it = std::find(words.begin(), words.end(), option);
    return it == words.end() || it + 1 == words.end() ? "(none)" : *(it + 1);
  }

  Options options_;
  InstanceSpec spec_;
  json::Document body_;
};

TEST_F(InstanceSpecTest, EverythingThatProtectsIsThere) {
  Make();
  EXPECT_EQ(Config("security.privileged"), "false");
  EXPECT_EQ(Config("security.nesting"), "false");
  EXPECT_EQ(Config("security.idmap.isolated"), "true") << "else two sandboxes share their ids";
  EXPECT_EQ(Config("security.guestapi"), "false");
  EXPECT_EQ(Config("security.syscalls.deny_compat"), "true") << "the filter knows one architecture";
  EXPECT_EQ(Config("boot.autostart"), "false");
  EXPECT_EQ(Config("user.clara-sandbox.user"), "alice");
  EXPECT_STREQ(body_["name"].GetString(), "clara-01234567-ab-1");
  EXPECT_STREQ(body_["type"].GetString(), "container");
  EXPECT_TRUE(body_["start"].GetBool());
  EXPECT_TRUE(body_["profiles"].IsArray());
  EXPECT_TRUE(body_["profiles"].Empty()) << "the default one brings a network, and what people add to it";
}

// By name, so that a key which is added later has to be thought about here.
TEST_F(InstanceSpecTest, NothingElseIsThere) {
  Make();
  EXPECT_THAT(Members(body_), UnorderedElementsAre("name", "type", "description", "profiles", "start",
                                                   "config", "devices", "source"));
  EXPECT_THAT(
      Members(body_["config"]),
      UnorderedElementsAre("boot.autostart", "limits.cpu.allowance", "limits.memory", "limits.memory.enforce",
                           "limits.memory.swap", "limits.processes", "raw.lxc", "security.guestapi",
                           "security.idmap.isolated", "security.nesting", "security.privileged",
                           "security.syscalls.deny_compat", "user.clara-sandbox.user"));
  EXPECT_THAT(Members(body_["devices"]), UnorderedElementsAre("root", "ws", "tools", "control"));
}

TEST_F(InstanceSpecTest, OursWinsOverWhatIsAdded) {
  options_.extra = {{"security.privileged", "true"},
                    {"security.nesting", "true"},
                    {"security.idmap.isolated", "false"},
                    {"security.guestapi", "true"},
                    {"raw.lxc", "lxc.apparmor.profile = unconfined"},
                    {"limits.memory", "1TiB"},
                    {"boot.autostart", "true"},
                    {"user.team", "a"}};
  options_.profiles = {"team"};
  Make();
  EXPECT_EQ(Config("security.privileged"), "false");
  EXPECT_EQ(Config("security.nesting"), "false");
  EXPECT_EQ(Config("security.idmap.isolated"), "true");
  EXPECT_EQ(Config("security.guestapi"), "false");
  EXPECT_EQ(Config("limits.memory"), "536870912");
  EXPECT_EQ(Config("boot.autostart"), "false");
  EXPECT_THAT(Config("raw.lxc"), Not(HasSubstr("unconfined")));
  EXPECT_EQ(Config("user.team"), "a");
  ASSERT_EQ(body_["profiles"].Size(), 1u);
  EXPECT_STREQ(body_["profiles"][0].GetString(), "team");
}

TEST_F(InstanceSpecTest, LimitsAreThoseThatWereAskedFor) {
  Make();
  EXPECT_EQ(Config("limits.memory"), "536870912");
  EXPECT_EQ(Config("limits.memory.enforce"), "hard");
  EXPECT_EQ(Config("limits.memory.swap"), "false") << "no swap beside the memory";
  EXPECT_EQ(Config("limits.cpu.allowance"), "50ms/100ms") << "of time, not a share";
  // Room for the agent, which user code must not be able to take.
  EXPECT_EQ(Config("limits.processes"), std::to_string(64 + kAgentPids));
  EXPECT_EQ(Device("root", "size"), "(none)");
  spec_.root_size = 1 << 30;
  options_.boot = Boot::kImage;
  Make();
  EXPECT_EQ(Device("root", "size"), "1073741824");
  EXPECT_EQ(Config("limits.processes"), std::to_string(64 + kImagePids));
  spec_.limits = {};
  Make();
  for (const char* key : {"limits.memory", "limits.memory.enforce", "limits.memory.swap",
                          "limits.cpu.allowance", "limits.processes"})
    EXPECT_EQ(Config(key), "(none)") << key << ": 0 is unlimited";
}

TEST_F(InstanceSpecTest, ATenthOfACoreIsATenth) {
  EXPECT_EQ(CpuAllowance(1), "100ms/100ms");
  EXPECT_EQ(CpuAllowance(0.1), "10ms/100ms");
  EXPECT_EQ(CpuAllowance(0.01), "1ms/100ms");
  EXPECT_EQ(CpuAllowance(0.0001), "1ms/100ms") << "never none, which is unlimited";
  EXPECT_EQ(CpuAllowance(2.5), "250ms/100ms");
  EXPECT_EQ(CpuAllowance(0.29), "29ms/100ms");
}

TEST_F(InstanceSpecTest, TheAgentIsProcessOne) {
  Make();
  const auto lines = Lines();
  EXPECT_THAT(lines, ElementsAre(StartsWith("lxc.init.cmd = /.clara/bin/clara-sandbox-agent --"),
                                 "lxc.mount.auto = cgroup:ro:force proc:mixed sys:ro",
                                 "lxc.mount.entry = tmpfs tmp tmpfs "
                                 "rw,nosuid,nodev,mode=1777,size=134217728,create=dir 0 0",
                                 "lxc.mount.entry = tmpfs dev/shm tmpfs "
                                 "rw,nosuid,nodev,mode=1777,noexec,size=67108864,create=dir 0 0"));
  const auto init = Init();
  EXPECT_EQ(init, AgentCommand(options_, spec_)) << "LXC splits at blanks: each word is one";
  EXPECT_EQ(After(init, "--control"), "/.clara/ctl");
  EXPECT_EQ(After(init, "--bridges"), "/.clara/bridges");
  EXPECT_EQ(After(init, "--workspace"), "/workspace");
  EXPECT_EQ(After(init, "--user"), "1000");
  EXPECT_EQ(After(init, "--group"), "1000");
  EXPECT_EQ(After(init, "--idle-timeout"), "900.000000");
  EXPECT_EQ(After(init, "--seccomp"), "/.clara/bin/seccomp");
  for (const char* flag : {"--own-workspace", "--lo", "--hosts"}) EXPECT_THAT(init, Contains(flag));
  for (const char* flag : {"--background", "--stop-init", "--address", "--gateway", "--block-routes"})
    EXPECT_THAT(init, Not(Contains(flag)));
}

// One blank, or a new line, more would be a word, or a setting, of somebody else's.
TEST_F(InstanceSpecTest, NothingInTheCommandHasABlank) {
  options_.blocked_ranges = "10.0.0.0/8,fc00::/7";
  options_.user = 4294967294u;
  options_.idle_timeout = 0.5;
  spec_.network = {
      .network = "n", .ours = true, .address = "10.84.3.17", .prefix = "24", .gateway = "10.84.3.1"};
  for (const Boot boot : {Boot::kAgent, Boot::kImage})
    for (const bool vm : {false, true})
      for (const ChannelKind channel : {ChannelKind::kSocket, ChannelKind::kExec}) {
        options_.boot = boot;
        options_.vm = vm;
        spec_.channel = channel;
        for (const std::string& word : AgentCommand(options_, spec_)) {
          EXPECT_FALSE(word.empty());
          for (const char c : word)
            EXPECT_TRUE(c > ' ' && c < 0x7F && c != '"' && c != '\'' && c != '\\') << word;
        }
      }
}

TEST_F(InstanceSpecTest, SizesOfTheTmpfsCountAsMemory) {
  const auto size_of = [&](const std::string& mount) {
    for (const std::string& line : Lines())
      if (line.find("tmpfs " + mount + " tmpfs") != std::string::npos)
        return line.substr(line.find("size="), line.find(",create") - line.find("size="));
    return std::string();
  };
  spec_.limits.memory = 64 << 20;
  Make();
  EXPECT_EQ(size_of("tmp"), "size=16777216");
  EXPECT_EQ(size_of("dev/shm"), "size=16777216");
  spec_.limits.memory = uint64_t{64} << 30;
  Make();
  EXPECT_EQ(size_of("tmp"), "size=1073741824") << "a GiB at most";
  EXPECT_EQ(size_of("dev/shm"), "size=67108864");
  spec_.limits.memory = 0;
  Make();
  EXPECT_EQ(size_of("tmp"), "size=1073741824");
  options_.tmp_bytes = 4096;
  Make();
  EXPECT_EQ(size_of("tmp"), "size=4096");
}

TEST_F(InstanceSpecTest, AnImagesOwnInitIsLeftAsItIs) {
  options_.boot = Boot::kImage;
  spec_.channel = ChannelKind::kExec;
  Make();
  EXPECT_THAT(Init(), IsEmpty());
  EXPECT_THAT(Config("raw.lxc"), Not(HasSubstr("tmpfs tmp ")));
  EXPECT_THAT(Config("raw.lxc"), HasSubstr("tmpfs dev/shm "));
  const auto agent = AgentCommand(options_, spec_);
  EXPECT_THAT(agent, Contains("--background"));
  EXPECT_THAT(agent, Contains("--stop-init"));
  for (const char* flag : {"--lo", "--hosts", "--control"}) EXPECT_THAT(agent, Not(Contains(flag)));
  for (const char* key : {"security.privileged", "security.nesting", "security.guestapi"})
    EXPECT_EQ(Config(key), "false") << key;
}

TEST_F(InstanceSpecTest, WhatIsMountedOfThisMachineIsReadOnly) {
  Make();
  EXPECT_EQ(Device("tools", "source"), "/run/csb/tools/1f");
  EXPECT_EQ(Device("tools", "path"), "/.clara/bin");
  EXPECT_EQ(Device("tools", "readonly"), "true");
  EXPECT_EQ(Device("control", "source"), "/run/csb/ab-1/ctl");
  EXPECT_EQ(Device("control", "path"), "/.clara/ctl");
  EXPECT_EQ(Device("control", "readonly"), "true") << "else user code leaves sockets there";
  EXPECT_EQ(Device("control", "shift"), "true");
  EXPECT_EQ(Device("ws", "source"), "clara-01234567-ab");
  EXPECT_EQ(Device("ws", "pool"), "fast");
  EXPECT_EQ(Device("ws", "path"), "/workspace");
  EXPECT_EQ(Device("root", "pool"), "fast");
  EXPECT_EQ(Device("root", "path"), "/");
  // Every source that is a path of this machine: those two.
  for (const auto& device : body_["devices"].GetObject()) {
    const std::string name = device.name.GetString();
    EXPECT_TRUE(!Device(name.c_str(), "source").starts_with("/") ||
                Device(name.c_str(), "readonly") == "true")
        << name;
  }
}

TEST_F(InstanceSpecTest, ElsewhereTheAgentComesByAVolume) {
  spec_.channel = ChannelKind::kExec;
  spec_.control.clear();
  spec_.tools.clear();
  spec_.tools_volume = "clara-01234567-tools-1f";
  Make();
  EXPECT_THAT(Members(body_["devices"]), UnorderedElementsAre("root", "ws", "tools"));
  EXPECT_EQ(Device("tools", "source"), "clara-01234567-tools-1f");
  EXPECT_EQ(Device("tools", "pool"), "fast");
  EXPECT_EQ(Device("tools", "readonly"), "true") << "sandboxes share it";
  EXPECT_THAT(Init(), Not(Contains("--control")));
  // What fills it writes, and runs no agent.
  spec_.init = "/bin/sleep 300";
  spec_.volume.clear();
  Make();
  EXPECT_EQ(Device("tools", "readonly"), "false");
  EXPECT_THAT(Lines(), ElementsAre("lxc.init.cmd = /bin/sleep 300"));
  EXPECT_THAT(Members(body_["devices"]), UnorderedElementsAre("root", "tools"));
  EXPECT_EQ(Config("security.privileged"), "false");
}

TEST_F(InstanceSpecTest, WithoutANetworkThereIsNoInterface) {
  Make();
  EXPECT_EQ(json::Find(body_["devices"], "eth0"), nullptr);
}

TEST_F(InstanceSpecTest, OnOurBridgeAnInterfaceIsAlone) {
  options_.blocked_ranges = "10.0.0.0/8";
  spec_.network = {.network = "clara01234567",
                   .ours = true,
                   .address = "10.84.3.17",
                   .prefix = "24",
                   .gateway = "10.84.3.1"};
  Make();
  EXPECT_EQ(Device("eth0", "type"), "nic");
  EXPECT_EQ(Device("eth0", "network"), "clara01234567");
  EXPECT_EQ(Device("eth0", "name"), "eth0");
  EXPECT_EQ(Device("eth0", "ipv4.address"), "10.84.3.17");
  for (const char* key : {"security.port_isolation", "security.mac_filtering", "security.ipv4_filtering",
                          "security.ipv6_filtering"})
    EXPECT_EQ(Device("eth0", key), "true") << key;
  const auto init = Init();
  EXPECT_EQ(After(init, "--address"), "10.84.3.17/24");
  EXPECT_EQ(After(init, "--gateway"), "10.84.3.1");
  EXPECT_EQ(After(init, "--nameserver"), "10.84.3.1");
  EXPECT_EQ(After(init, "--block-routes"), "10.0.0.0/8");
}

TEST_F(InstanceSpecTest, AnotherNetworkIsJoinedAsItIs) {
  options_.blocked_ranges = "10.0.0.0/8";
  spec_.network = {
      .network = "team", .ours = false, .address = "192.0.2.5", .prefix = "24", .gateway = "192.0.2.1"};
  Make();
  EXPECT_EQ(Device("eth0", "network"), "team");
  EXPECT_EQ(Device("eth0", "security.port_isolation"), "(none)");
  EXPECT_EQ(After(Init(), "--address"), "192.0.2.5/24");
  EXPECT_THAT(Init(), Not(Contains("--block-routes")));
}

TEST_F(InstanceSpecTest, AMachineHasWhatHoldsAMachine) {
  options_.vm = true;
  spec_.limits.cpu = 1.5;
  spec_.channel = ChannelKind::kExec;
  Make();
  EXPECT_STREQ(body_["type"].GetString(), "virtual-machine");
  // Keys of containers are refused there.
  EXPECT_THAT(Members(body_["config"]), UnorderedElementsAre("boot.autostart", "limits.cpu", "limits.memory",
                                                             "security.guestapi", "user.clara-sandbox.user"));
  EXPECT_EQ(Config("limits.cpu"), "2") << "whole ones, never less than asked for";
  EXPECT_EQ(Config("limits.memory"), "536870912");
  EXPECT_EQ(Config("security.guestapi"), "false");
  EXPECT_EQ(Config("boot.autostart"), "false");
  EXPECT_THAT(Members(body_["devices"]), UnorderedElementsAre("root", "ws"));
  const auto agent = AgentCommand(options_, spec_);
  EXPECT_THAT(agent, Contains("--background"));
  EXPECT_THAT(agent, Not(Contains("--control")));
  options_.secureboot = false;
  spec_.limits.cpu = 0;
  Make();
  EXPECT_EQ(Config("security.secureboot"), "false");
  EXPECT_EQ(Config("limits.cpu"), "1");
}

TEST_F(InstanceSpecTest, TheImageIsTheOneThatWasFound) {
  Make();
  EXPECT_THAT(Members(body_["source"]), UnorderedElementsAre("type", "fingerprint"));
  EXPECT_STREQ(body_["source"]["type"].GetString(), "image");
  EXPECT_STREQ(body_["source"]["fingerprint"].GetString(), "0b2a0b2a0b2a");
  spec_.image = {.server = "https://s", .protocol = "simplestreams", .alias = "debian/12/cloud"};
  Make();
  EXPECT_THAT(Members(body_["source"]), UnorderedElementsAre("type", "alias", "mode", "server", "protocol"));
  EXPECT_STREQ(body_["source"]["alias"].GetString(), "debian/12/cloud");
  EXPECT_STREQ(body_["source"]["mode"].GetString(), "pull");
  EXPECT_STREQ(body_["source"]["server"].GetString(), "https://s");
  spec_.image.certificate = "PEM";
  Make();
  EXPECT_STREQ(body_["source"]["certificate"].GetString(), "PEM");
}

// Of a user: JSON is written, not pasted.
TEST_F(InstanceSpecTest, AHostileUserIdIsAText) {
  spec_.labels["user.clara-sandbox.user"] = "a\",\"security.privileged\":\"true";
  Make();
  EXPECT_EQ(Config("security.privileged"), "false");
  EXPECT_EQ(Config("user.clara-sandbox.user"), "a\",\"security.privileged\":\"true");
}

}  // namespace
}  // namespace csb::incus

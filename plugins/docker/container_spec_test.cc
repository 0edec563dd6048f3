// SPDX-License-Identifier: Apache-2.0
//
// What a container may do is decided by the body of its create: each line of it that protects somebody is
// asserted here, and that nothing stands there that would undo it.
#include "plugins/docker/container_spec.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cerrno>

#include "plugins/common/json_testing.h"

namespace csb::docker {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class ContainerSpecTest : public ::testing::Test {
 protected:
  ContainerSpecTest() {
    options_.agent = "/opt/agent";
    spec_.image = "sha256:0b2a";
    spec_.limits = {.memory = 512 << 20, .cpu = 0.5, .pids = 64};
    spec_.labels = {{"clara-sandbox.user", "alice"}};
    spec_.volume = "clara-1f-alice";
    spec_.control = "/run/csb/alice/ctl";
  }
  void Make() { body_ = Json(ContainerBody(options_, spec_)); }

  const json::Value& At(const char* member) { return body_[member]; }
  const json::Value& Host(const char* member) {
    static const json::Value kNone;
    const json::Value* v = json::Find(body_["HostConfig"], member);
    return v == nullptr ? kNone : *v;
  }
  static std::vector<std::string> Texts(const json::Value& array) {
    std::vector<std::string> out;
    for (const auto& item : array.GetArray()) out.emplace_back(item.GetString());
    return out;
  }
  std::vector<std::string> Command() { return Texts(At("Cmd")); }
  // The mount at this place; null when there is none.
  const json::Value* MountAt(const std::string& target) {
    for (const auto& mount : Host("Mounts").GetArray())
      if (mount["Target"].GetString() == target) return &mount;
    return nullptr;
  }
  std::string Profile() {
    for (const std::string& option : Texts(Host("SecurityOpt")))
      if (option.starts_with("seccomp=")) return option.substr(8);
    return {};
  }

  Options options_;
  ContainerSpec spec_;
  json::Document body_;
};

TEST_F(ContainerSpecTest, EverythingThatProtectsIsThere) {
  Make();
  EXPECT_STREQ(At("User").GetString(), "0:0");  // the agent's, which gives user code another
  EXPECT_TRUE(At("Entrypoint").IsArray());
  EXPECT_TRUE(At("Entrypoint").Empty()) << "the image's would run before the agent";
  EXPECT_THAT(Texts(At("Healthcheck")["Test"]), ElementsAre("NONE"));
  EXPECT_FALSE(At("Tty").GetBool());
  EXPECT_STREQ(At("StopSignal").GetString(), "SIGKILL") << "the agent takes SIGTERM for its host's word";
  EXPECT_THAT(Texts(Host("CapDrop")), ElementsAre("ALL"));
  EXPECT_THAT(Texts(Host("CapAdd")), UnorderedElementsAre("SETUID", "SETGID", "KILL", "SETPCAP", "CHOWN"));
  EXPECT_THAT(Texts(Host("SecurityOpt")), Contains("no-new-privileges:true"));
  EXPECT_STREQ(Host("IpcMode").GetString(), "private");
  EXPECT_STREQ(Host("CgroupnsMode").GetString(), "private");
  EXPECT_STREQ(Host("LogConfig")["Type"].GetString(), "none");
  EXPECT_STREQ(Host("RestartPolicy")["Name"].GetString(), "no");
  EXPECT_STREQ(At("Labels")["clara-sandbox.user"].GetString(), "alice");
  EXPECT_STREQ(At("Image").GetString(), "sha256:0b2a");
}

// By name, so that a member which is added later has to be thought about here.
TEST_F(ContainerSpecTest, NothingElseIsThere) {
  spec_.limits.disk = 1 << 30;
  options_.runtime = "runsc";
  Make();
  std::vector<std::string> top, host;
  for (const auto& member : body_.GetObject()) top.emplace_back(member.name.GetString());
  for (const auto& member : body_["HostConfig"].GetObject()) host.emplace_back(member.name.GetString());
  EXPECT_THAT(top,
              UnorderedElementsAre("Image", "Hostname", "User", "WorkingDir", "Entrypoint", "Cmd", "Tty",
                                   "StopSignal", "NetworkDisabled", "Healthcheck", "Labels", "HostConfig"));
  EXPECT_THAT(host, UnorderedElementsAre("NetworkMode", "Memory", "MemorySwap", "NanoCpus", "PidsLimit",
                                         "StorageOpt", "CapDrop", "CapAdd", "SecurityOpt", "IpcMode",
                                         "CgroupnsMode", "ReadonlyRootfs", "Init", "Runtime", "Mounts",
                                         "Tmpfs", "ShmSize", "Ulimits", "LogConfig", "RestartPolicy"));
  for (const char* never : {"Privileged", "Devices", "DeviceRequests", "Binds", "PidMode", "UTSMode",
                            "UsernsMode", "VolumesFrom", "PortBindings", "ExtraHosts", "GroupAdd", "Sysctls"})
    EXPECT_TRUE(Host(never).IsNull()) << never;
}

TEST_F(ContainerSpecTest, LimitsAreThoseThatWereAskedFor) {
  Make();
  EXPECT_EQ(Host("Memory").GetUint64(), uint64_t{512} << 20);
  EXPECT_EQ(Host("MemorySwap").GetUint64(), Host("Memory").GetUint64()) << "no swap beside the memory";
  EXPECT_EQ(Host("NanoCpus").GetInt64(), 500'000'000);
  // Room for the agent, which user code must not be able to take.
  EXPECT_GT(Host("PidsLimit").GetUint64(), 64u);
  EXPECT_LE(Host("PidsLimit").GetUint64(), 64u + 16);
  EXPECT_TRUE(Host("StorageOpt").IsNull());
  spec_.limits.disk = 1 << 30;
  Make();
  EXPECT_STREQ(Host("StorageOpt")["size"].GetString(), "1073741824");
  spec_.limits = {};
  Make();
  for (const char* member : {"Memory", "MemorySwap", "NanoCpus", "PidsLimit", "StorageOpt"})
    EXPECT_TRUE(Host(member).IsNull()) << member << ": 0 is unlimited";
}

TEST_F(ContainerSpecTest, MemoryInFilesIsBounded) {
  Make();
  EXPECT_THAT(Host("Tmpfs")["/tmp"].GetString(), AllOf(HasSubstr("nosuid"), HasSubstr("nodev"),
                                                       HasSubstr("mode=1777"), HasSubstr("size=134217728")));
  EXPECT_EQ(Host("ShmSize").GetUint64(), 64u << 20);
  spec_.limits.memory = 64 << 20;
  Make();
  EXPECT_EQ(Host("ShmSize").GetUint64(), 16u << 20);
  spec_.limits.memory = 0;
  Make();
  EXPECT_THAT(Host("Tmpfs")["/tmp"].GetString(), HasSubstr("size=1073741824"));
  options_.tmp_bytes = 4096;
  Make();
  EXPECT_THAT(Host("Tmpfs")["/tmp"].GetString(), HasSubstr("size=4096"));
  for (const auto& limit : Host("Ulimits").GetArray()) {
    if (std::string_view(limit["Name"].GetString()) != "core") continue;
    EXPECT_EQ(limit["Hard"].GetInt(), 0) << "a core file is a file of gigabytes";
  }
}

TEST_F(ContainerSpecTest, NoneHasNoNetworkAtAll) {
  Make();
  EXPECT_TRUE(At("NetworkDisabled").GetBool());
  EXPECT_STREQ(Host("NetworkMode").GetString(), "none");
  EXPECT_THAT(Command(), Not(Contains("--block-routes")));
}

TEST_F(ContainerSpecTest, TheRightToSetRoutesComesWithRangesToBlock) {
  spec_.network = "clara-1f-bridge";
  spec_.blocked = "10.0.0.0/8,fc00::/7";
  Make();
  EXPECT_FALSE(At("NetworkDisabled").GetBool());
  EXPECT_STREQ(Host("NetworkMode").GetString(), "clara-1f-bridge");
  EXPECT_THAT(Texts(Host("CapAdd")), Contains("NET_ADMIN"));
  const auto command = Command();
  const auto flag = std::find(command.begin(), command.end(), "--block-routes");
  ASSERT_NE(flag, command.end());
  EXPECT_EQ(*(flag + 1), "10.0.0.0/8,fc00::/7");
}

TEST_F(ContainerSpecTest, ANamedNetworkGivesNoRights) {
  spec_.network = "team";
  Make();
  EXPECT_FALSE(At("NetworkDisabled").GetBool());
  EXPECT_STREQ(Host("NetworkMode").GetString(), "team");
  EXPECT_THAT(Texts(Host("CapAdd")), Not(Contains("NET_ADMIN")));
}

TEST_F(ContainerSpecTest, OnlyTheWorkspaceCanBeWritten) {
  Make();
  ASSERT_EQ(Host("Mounts").Size(), 3u);
  const json::Value* workspace = MountAt("/workspace");
  ASSERT_NE(workspace, nullptr);
  EXPECT_STREQ((*workspace)["Type"].GetString(), "volume");
  EXPECT_STREQ((*workspace)["Source"].GetString(), "clara-1f-alice");
  EXPECT_FALSE((*workspace)["ReadOnly"].GetBool());
  EXPECT_TRUE((*workspace)["VolumeOptions"]["NoCopy"].GetBool()) << "the image's files are not the user's";
  for (const char* target : {"/run/clara/agent", "/run/clara/ctl"}) {
    const json::Value* mount = MountAt(target);
    ASSERT_NE(mount, nullptr) << target;
    EXPECT_STREQ((*mount)["Type"].GetString(), "bind") << target;
    EXPECT_TRUE((*mount)["ReadOnly"].GetBool()) << target;
  }
  EXPECT_STREQ((*MountAt("/run/clara/agent"))["Source"].GetString(), "/opt/agent");
  EXPECT_STREQ((*MountAt("/run/clara/ctl"))["Source"].GetString(), "/run/csb/alice/ctl");
  EXPECT_THAT(Command(), Contains("/run/clara/agent"));
}

TEST_F(ContainerSpecTest, AFolderCanBeTheWorkspace) {
  spec_.volume.clear();
  spec_.folder = "/data/alice";
  Make();
  const json::Value* workspace = MountAt("/workspace");
  ASSERT_NE(workspace, nullptr);
  EXPECT_STREQ((*workspace)["Type"].GetString(), "bind");
  EXPECT_STREQ((*workspace)["Source"].GetString(), "/data/alice");
}

TEST_F(ContainerSpecTest, ARemoteEngineGetsNothingOfThisMachine) {
  spec_.channel = ChannelKind::kExec;
  spec_.agent_volume = "clara-1f-agent-ab";
  Make();
  ASSERT_EQ(Host("Mounts").Size(), 2u);
  for (const auto& mount : Host("Mounts").GetArray()) EXPECT_STREQ(mount["Type"].GetString(), "volume");
  const json::Value* agent = MountAt("/run/clara/bin");
  ASSERT_NE(agent, nullptr);
  EXPECT_TRUE((*agent)["ReadOnly"].GetBool());
  EXPECT_STREQ((*agent)["Source"].GetString(), "clara-1f-agent-ab");
  EXPECT_THAT(Host("Tmpfs")["/run/clara/ctl"].GetString(),
              AllOf(HasSubstr("mode=0700"), HasSubstr("noexec"), HasSubstr("size=65536")));
  EXPECT_EQ(Command().front(), "/run/clara/bin/clara-sandbox-agent");
}

TEST_F(ContainerSpecTest, TheRootCanBeReadOnly) {
  Make();
  EXPECT_FALSE(Host("ReadonlyRootfs").GetBool());
  EXPECT_FALSE(Host("Tmpfs").HasMember("/var/tmp"));
  options_.read_only = true;
  Make();
  EXPECT_TRUE(Host("ReadonlyRootfs").GetBool());
  EXPECT_THAT(Host("Tmpfs")["/var/tmp"].GetString(), AllOf(HasSubstr("nosuid"), HasSubstr("size=")));
}

TEST_F(ContainerSpecTest, UserCodeRunsAsTheConfiguredUserWithNothingOfTheHosts) {
  ASSERT_EQ(setenv("CSB_DOCKER_TEST_SECRET", "leaked", 1), 0);
  options_.user = 1234;
  options_.group = 4321;
  spec_.env = {"PATH=/opt/python/bin:/bin", "JAVA_HOME=/opt/java", "HOME=/root", "=x", "EMPTY="};
  Make();
  const auto command = Command();
  const auto value = [&](const std::string& flag) {
    const auto at = std::find(command.begin(), command.end(), flag);
    return at == command.end() || at + 1 == command.end() ? std::string() : *(at + 1);
  };
  EXPECT_EQ(value("--user"), "1234");
  EXPECT_EQ(value("--group"), "4321");
  EXPECT_EQ(value("--workspace"), "/workspace");
  EXPECT_EQ(value("--control"), "/run/clara/ctl");
  EXPECT_THAT(command, Contains(AllOf(StartsWith("PATH="), HasSubstr("/opt/python/bin"))));
  // The image's own, but not in place of what every sandbox has.
  EXPECT_THAT(command, Contains("JAVA_HOME=/opt/java"));
  EXPECT_THAT(command, Contains("HOME=/workspace"));
  EXPECT_THAT(command, Not(Contains("HOME=/root")));
  EXPECT_THAT(command, Not(Contains("=x")));
  EXPECT_FALSE(body_.HasMember("Env"));
  EXPECT_THAT(ContainerBody(options_, spec_), Not(HasSubstr("CSB_DOCKER_TEST_SECRET")));
}

TEST_F(ContainerSpecTest, OurProfileDeniesWhatItDoesNotName) {
  Make();
  const json::Document profile = Json(Profile());
  EXPECT_STREQ(profile["defaultAction"].GetString(), "SCMP_ACT_ERRNO");
  EXPECT_EQ(profile["defaultErrnoRet"].GetInt(), ENOSYS);
  std::map<std::string, std::vector<const json::Value*>> rules;
  for (const auto& rule : profile["syscalls"].GetArray()) {
    const std::string action = rule["action"].GetString();
    EXPECT_THAT(action, ::testing::AnyOf("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"));
    EXPECT_EQ(action == "SCMP_ACT_ERRNO", rule.HasMember("errnoRet"));
    for (const auto& name : rule["names"].GetArray()) rules[name.GetString()].push_back(&rule);
  }
  const auto allowed = [&](const std::string& call) {
    return std::any_of(rules[call].begin(), rules[call].end(), [](const json::Value* rule) {
      return std::string_view((*rule)["action"].GetString()) == "SCMP_ACT_ALLOW";
    });
  };
  for (const char* call : {"read", "openat", "execve", "exit_group", "mmap", "clone", "socket"})
    EXPECT_TRUE(allowed(call)) << call;
  for (const char* call :
       {"mount", "unshare", "setns", "ptrace", "bpf", "keyctl", "userfaultfd", "init_module", "kexec_load",
        "open_by_handle_at", "perf_event_open", "clone3", "io_uring_setup"})
    EXPECT_FALSE(allowed(call)) << call;
  // No rule lets clone make a namespace, and none lets sockets be of any family.
  for (const char* call : {"clone", "socket", "ioctl"})
    for (const json::Value* rule : rules[call]) {
      ASSERT_FALSE((*rule)["args"].Empty()) << call;
      for (const auto& arg : (*rule)["args"].GetArray())
        EXPECT_STREQ(arg["op"].GetString(), "SCMP_CMP_MASKED_EQ") << call;
    }
  ASSERT_EQ(rules["clone3"].size(), 1u);
  EXPECT_EQ((*rules["clone3"][0])["errnoRet"].GetInt(), ENOSYS);
}

// With a read-only root the engine has to write /etc/hosts.
TEST_F(ContainerSpecTest, AReadOnlyRootWithoutANetworkHasNone) {
  options_.read_only = true;
  Make();
  EXPECT_STREQ(Host("NetworkMode").GetString(), "none");
}

TEST_F(ContainerSpecTest, ALogIsKeptOnlyWhereItIsAskedFor) {
  spec_.log = true;
  Make();
  EXPECT_STREQ(Host("LogConfig")["Type"].GetString(), "json-file");
}

TEST_F(ContainerSpecTest, AnEngineThatReadsFilesGetsTheProfileAsOne) {
  spec_.seccomp_file = "/run/csb/seccomp.json";
  Make();
  EXPECT_EQ(Profile(), "/run/csb/seccomp.json");
  EXPECT_EQ(ProfileOf(options_), SeccompProfile());
}

TEST_F(ContainerSpecTest, OtherProfilesAreHandedOn) {
  options_.seccomp = R"({"defaultAction":"SCMP_ACT_KILL"})";
  Make();
  EXPECT_EQ(Profile(), options_.seccomp);
  options_.seccomp = "docker";
  Make();
  EXPECT_THAT(Texts(Host("SecurityOpt")), ElementsAre("no-new-privileges:true")) << "the engine's default";
}

TEST_F(ContainerSpecTest, TheRuntimeIsTheEnginesUnlessConfigured) {
  Make();
  EXPECT_TRUE(Host("Runtime").IsNull());
  options_.runtime = "runsc";
  Make();
  EXPECT_STREQ(Host("Runtime").GetString(), "runsc");
}

// Names and ranges become JSON, whatever stands in them.
TEST_F(ContainerSpecTest, TextCantBreakOutOfTheBody) {
  spec_.labels["clara-sandbox.user"] = "a\",\"Privileged\":true,\"x\":\"";
  spec_.folder = "/data/\"quoted\\";
  spec_.volume.clear();
  Make();
  EXPECT_STREQ(At("Labels")["clara-sandbox.user"].GetString(), "a\",\"Privileged\":true,\"x\":\"");
  EXPECT_TRUE(Host("Privileged").IsNull());
  EXPECT_STREQ((*MountAt("/workspace"))["Source"].GetString(), "/data/\"quoted\\");
}

}  // namespace
}  // namespace csb::docker

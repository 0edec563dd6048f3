// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/options.h"

#include <gmock/gmock.h>

#include "clara_sandbox/testing/fake_host.h"
#include "plugins/common/json_testing.h"

namespace csb::incus {
namespace {

using csb::testing::FakeHost;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::StartsWith;

class OptionsTest : public ::testing::Test {
 protected:
  Result<Options> Read(FakeHost::Options options) {
    options.emplace("sandbox.state_dir", folder_ / "state");
    options.emplace("sandbox.runtime_dir", folder_ / "run");
    options.emplace("incus.remote", "unix:///run/test.socket");
    const FakeHost host(std::move(options));
    return ReadOptions(host.ref());
  }
  void ExpectRefused(const std::string& key, const std::string& value) {
    const auto refused = Read({{key, value}});
    ASSERT_FALSE(refused) << key << "=" << value;
    EXPECT_EQ(refused.error().code, CSB_E_INVALID) << key << "=" << value;
    EXPECT_THAT(refused.error().message, HasSubstr(key)) << value;
  }

  const TemporaryFolder folder_;
};

TEST_F(OptionsTest, TheDefaultsAreSafe) {
  const auto o = Read({});
  ASSERT_TRUE(o) << o.error().message;
  EXPECT_EQ(o->remote.endpoint.unix_socket, "/run/test.socket");
  EXPECT_EQ(o->remote.project, "default");
  EXPECT_EQ(o->image, "images:debian/12/cloud");
  EXPECT_THAT(o->more_images, IsEmpty()) << "whoever creates a sandbox can't choose an image";
  EXPECT_FALSE(o->vm);
  EXPECT_EQ(o->boot, Boot::kAgent);
  EXPECT_FALSE(o->channel);
  EXPECT_EQ(o->limits, (Limits{.memory = 512 << 20, .cpu = 1, .pids = 256}));
  EXPECT_EQ(o->limits.network, "none");
  EXPECT_EQ(o->user, 1000u);
  EXPECT_EQ(o->group, 1000u);
  EXPECT_THAT(o->profiles, IsEmpty()) << "not even the default one: it has a network";
  EXPECT_THAT(o->extra, IsEmpty());
  EXPECT_TRUE(o->secureboot);
  EXPECT_EQ(o->pool_size, 0);
  EXPECT_EQ(o->max_instances, 10);
  EXPECT_EQ(o->state_dir, folder_ / "state/incus");
  EXPECT_THAT(o->runtime_dir, StartsWith(folder_ / "run/incus/"));
  for (const char* range : {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
                            "fe80::/10", "100.64.0.0/10"})
    EXPECT_THAT(o->blocked_ranges, HasSubstr(range));
}

TEST_F(OptionsTest, EveryOptionIsTaken) {
  const auto p = Read({{"incus.project", "team"},
                       {"incus.image", "mine"},
                       {"incus.images", " other  images:alpine/3.20 "},
                       {"incus.boot", "image"},
                       {"incus.channel", "exec"},
                       {"incus.timeout", "60"},
                       {"incus.memory", "1073741824"},
                       {"incus.cpu", "0.5"},
                       {"incus.disk", "2147483648"},
                       {"incus.pids", "64"},
                       {"incus.network", "team_net-1.lan"},
                       {"incus.blocked", "10.0.0.0/8"},
                       {"incus.pool", "fast"},
                       {"incus.target", "@gpu"},
                       {"incus.profiles", " one two "},
                       {"incus.extra_config", "linux.sysctl.net.ipv4.ip_forward=0; user.team=a=b; "},
                       {"incus.tmp", "1048576"},
                       {"incus.user", "7:4294967294"},
                       {"incus.pool_size", "3"},
                       {"incus.installation", "cluster1"},
                       {"sandbox.max_sandboxes", "4"}});
  ASSERT_TRUE(p) << p.error().message;
  EXPECT_EQ(p->remote.project, "team");
  EXPECT_EQ(p->image, "mine");
  EXPECT_THAT(p->more_images, ElementsAre("other", "images:alpine/3.20"));
  EXPECT_EQ(p->boot, Boot::kImage);
  EXPECT_EQ(p->channel, ChannelKind::kExec);
  EXPECT_EQ(p->idle_timeout, 60);
  EXPECT_EQ(p->limits, (Limits{1 << 30, 0.5, 64, uint64_t{2} << 30, "team_net-1.lan"}));
  EXPECT_EQ(p->blocked_ranges, "10.0.0.0/8");
  EXPECT_EQ(p->pool, "fast");
  EXPECT_EQ(p->target, "@gpu");
  EXPECT_THAT(p->profiles, ElementsAre("one", "two"));
  EXPECT_THAT(p->extra, ElementsAre(Pair("linux.sysctl.net.ipv4.ip_forward", "0"), Pair("user.team", "a=b")));
  EXPECT_EQ(p->tmp_bytes, 1u << 20);
  EXPECT_EQ(p->user, 7u);
  EXPECT_EQ(p->group, 4294967294u);
  EXPECT_EQ(p->pool_size, 3);
  EXPECT_EQ(p->installation, "cluster1");
  EXPECT_EQ(p->max_instances, 4);
}

TEST_F(OptionsTest, TheModeOrTheTypeMakesAMachine) {
  EXPECT_TRUE(Read({{"incus.type", "vm"}})->vm);
  EXPECT_TRUE(Read({{"sandbox.mode", "incus-vm"}})->vm);
  EXPECT_TRUE(Read({{"sandbox.mode", "incus-vm"}, {"incus.type", "container"}})->vm);
  EXPECT_FALSE(Read({{"sandbox.mode", "incus"}})->vm);
  EXPECT_FALSE(Read({{"incus.secureboot", "0"}})->secureboot);
}

TEST_F(OptionsTest, ASocketNeedsAnInitOfOurs) {
  EXPECT_TRUE(Read({{"incus.channel", "socket"}}));
  for (const auto& [key, value] : {std::pair("incus.type", "vm"), std::pair("incus.boot", "image")}) {
    const auto refused = Read({{"incus.channel", "socket"}, {key, value}});
    ASSERT_FALSE(refused) << key;
    EXPECT_EQ(refused.error().code, CSB_E_INVALID);
    EXPECT_THAT(refused.error().message, HasSubstr("incus.channel"));
  }
}

TEST_F(OptionsTest, UserCodeIsNeverRoot) {
  for (const char* bad : {"0:0", "0:1000", "1000:0", "1000", "1000:", ":1000", "root:root", "-1:1000",
                          "1000:-1", "4294967295:1000", "1000:4294967295", "4294967296:1", "1000:1000:0",
                          "1000:1000 ", " 1:1", "0x1:1", ""})
    ExpectRefused("incus.user", bad);
}

// They end up in paths, queries and raw.lxc.
TEST_F(OptionsTest, ANameIsAName) {
  const std::string names[] = {"incus.network", "incus.project", "incus.pool", "incus.target"};
  for (const std::string& key : names) {
    for (const char* bad : {"-a", ".a", "..", "a b", "a/b", "a\nb", "a&b", "a?b", "a=b", "a,b", "a%2f", "ä"})
      ExpectRefused(key, bad);
    ExpectRefused(key, std::string(64, 'n'));
    EXPECT_TRUE(Read({{key, "A_b-1.c"}})) << key;
  }
  for (const char* bad : {"@", "@-a", "@@a", "@a b"}) ExpectRefused("incus.target", bad);
  for (const char* bad : {"ok a/b", "-x", "a;b"}) ExpectRefused("incus.profiles", bad);
  ExpectRefused("incus.network", "host");
  ExpectRefused("incus.network", "");
  ExpectRefused("incus.image", "");
}

TEST_F(OptionsTest, WhatKeepsASandboxInCantBeSet) {
  for (const char* key :
       {"security.privileged", "security.nesting", "security.idmap.isolated", "security.idmap.base",
        "security.guestapi", "security.guestapi.images", "security.syscalls.deny_default",
        "security.syscalls.intercept.mount", "raw.lxc", "raw.idmap", "raw.seccomp", "raw.apparmor",
        "limits.memory", "limits.processes", "limits.cpu.allowance", "boot.autostart",
        "user.clara-sandbox.user", "user.clara-sandbox.installation", "volatile.idmap.base"})
    for (const char* before : {"", "user.a=b;", "  "})
      ExpectRefused("incus.extra_config", std::string(before) + key + "=x");
  for (const char* bad : {"nothing", "=x", "a=b;c", "; ;=", "a=b; =c"})
    ExpectRefused("incus.extra_config", bad);
  EXPECT_THAT(Read({{"incus.extra_config", " ; "}})->extra, IsEmpty());
}

TEST_F(OptionsTest, AnInstallationIsShortAndPlain) {
  for (const char* bad :
       {"short", "1234567", "UPPERCASE", "with-dash", "a/b/c/d/e", "123456789012345678901234567890123"})
    ExpectRefused("incus.installation", bad);
  for (const char* good : {"12345678", "abcdefgh", "12345678901234567890123456789012"})
    EXPECT_TRUE(Read({{"incus.installation", good}})) << good;
}

// A name in use at one server is free at another.
TEST_F(OptionsTest, EachServerAndProjectHasFoldersOfItsOwn) {
  const std::string one = Read({})->runtime_dir;
  EXPECT_EQ(Read({})->runtime_dir, one);
  EXPECT_NE(Read({{"incus.project", "team"}})->runtime_dir, one);
  EXPECT_NE(Read({{"incus.remote", "unix:///run/other.socket"}})->runtime_dir, one);
}

TEST_F(OptionsTest, FoldersAreAbsolute) {
  for (const char* key : {"sandbox.state_dir", "sandbox.runtime_dir"}) {
    const auto refused = Read({{key, "relative/folder"}});
    ASSERT_FALSE(refused) << key;
    EXPECT_THAT(refused.error().message, HasSubstr("relative/folder"));
  }
}

TEST_F(OptionsTest, ARemoteThatIsNoneIsRefused) {
  for (const char* bad :
       {"http://host", "ssh://host", "a/b", "https://", "https://host:8443", "nobody-knows-it"})
    EXPECT_FALSE(Read({{"incus.remote", bad}})) << bad;
}

// By key, so that an option which is added later has to be thought about here, and in the docs.
TEST_F(OptionsTest, EveryOptionIsDeclaredAndExplained) {
  std::vector<std::string> keys;
  for (const csb_option& option : DeclaredOptions()) {
    keys.emplace_back(option.key);
    EXPECT_THAT(option.key, StartsWith("incus."));
    ASSERT_NE(option.help, nullptr) << option.key;
    EXPECT_GT(std::string_view(option.help).size(), 20u) << option.key;
  }
  EXPECT_THAT(keys, ::testing::UnorderedElementsAre(
                        "incus.remote", "incus.project", "incus.image", "incus.images", "incus.type",
                        "incus.boot", "incus.channel", "incus.timeout", "incus.memory", "incus.cpu",
                        "incus.disk", "incus.pids", "incus.network", "incus.blocked", "incus.pool",
                        "incus.target", "incus.profiles", "incus.extra_config", "incus.secureboot",
                        "incus.tmp", "incus.user", "incus.pool_size", "incus.installation", "incus.agent"));
}

}  // namespace
}  // namespace csb::incus

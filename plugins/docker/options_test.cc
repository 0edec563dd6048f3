// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/options.h"

#include <gmock/gmock.h>

#include "clara_sandbox/testing/fake_host.h"
#include "plugins/common/json_testing.h"
#include "plugins/docker/container_spec.h"

namespace csb::docker {
namespace {

using csb::testing::FakeHost;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OptionsTest : public ::testing::Test {
 protected:
  Result<Options> Read(FakeHost::Options options) {
    options.emplace("sandbox.state_dir", folder_ / "state");
    options.emplace("sandbox.runtime_dir", folder_ / "run");
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
  EXPECT_EQ(o->endpoint.unix_socket, "/var/run/docker.sock");
  EXPECT_EQ(o->limits.network, "none");
  EXPECT_EQ(o->limits.memory, uint64_t{512} << 20);
  EXPECT_EQ(o->limits.cpu, 1.0);
  EXPECT_EQ(o->limits.pids, 256u);
  EXPECT_EQ(o->seccomp, "") << "our allowlist";
  EXPECT_EQ(o->user, 1000u);
  EXPECT_EQ(o->group, 1000u);
  EXPECT_FALSE(o->channel);
  EXPECT_TRUE(o->more_images.empty()) << "whoever creates a sandbox can't choose an image";
  EXPECT_EQ(o->pool_size, 0);
  EXPECT_EQ(o->state_dir, folder_ / "state/docker");
  EXPECT_EQ(o->runtime_dir, folder_ / "run/docker");
  EXPECT_EQ(o->data_dir, "");
  for (const char* range : {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
                            "fe80::/10", "100.64.0.0/10"})
    EXPECT_THAT(o->blocked_ranges, HasSubstr(range));
}

TEST_F(OptionsTest, SizesAndChoicesAreTaken) {
  const auto o = Read({{"docker.host", "tcp://10.0.0.5:2375"},
                       {"docker.channel", "exec"},
                       {"docker.image", "mine:1"},
                       {"docker.images", " other:2  third "},
                       {"docker.pull", "never"},
                       {"docker.memory", "1073741824"},
                       {"docker.cpu", "0.5"},
                       {"docker.pids", "64"},
                       {"docker.disk", "2147483648"},
                       {"docker.network", "team_net-1.lan"},
                       {"docker.read_only", "1"},
                       {"docker.tmp", "1048576"},
                       {"docker.user", "7:4294967294"},
                       {"docker.seccomp", "docker"},
                       {"docker.timeout", "60"},
                       {"docker.pool_size", "3"},
                       {"sandbox.max_sandboxes", "4"}});
  ASSERT_TRUE(o) << o.error().message;
  EXPECT_EQ(o->endpoint.url, "http://10.0.0.5:2375");
  EXPECT_EQ(o->channel, ChannelKind::kExec);
  EXPECT_EQ(o->image, "mine:1");
  EXPECT_THAT(o->more_images, ElementsAre("other:2", "third"));
  EXPECT_FALSE(o->pull);
  EXPECT_EQ(o->limits, (Limits{1 << 30, 0.5, 64, uint64_t{2} << 30, "team_net-1.lan"}));
  EXPECT_TRUE(o->read_only);
  EXPECT_EQ(o->tmp_bytes, 1u << 20);
  EXPECT_EQ(o->user, 7u);
  EXPECT_EQ(o->group, 4294967294u);
  EXPECT_EQ(o->seccomp, "docker");
  EXPECT_EQ(o->idle_timeout, 60);
  EXPECT_EQ(o->pool_size, 3);
  EXPECT_EQ(o->max_containers, 4);
}

TEST_F(OptionsTest, UserCodeIsNeverRoot) {
  for (const char* bad : {"0:0", "0:1000", "1000:0", "1000", "1000:", ":1000", "root:root", "-1:1000",
                          "1000:-1", "4294967295:1000", "1000:4294967295", "4294967296:1", "1000:1000:0",
                          "1000:1000 ", " 1:1", "0x1:1", ""})
    ExpectRefused("docker.user", bad);
}

TEST_F(OptionsTest, TheHostsNetworkIsNotOffered) {
  for (const char* bad : {"host", "default", "", "container:other", "ns:/proc/1/ns/net", "-net", ".net",
                          "a b", "a/b", "a\nb", "bridge,host"})
    ExpectRefused("docker.network", bad);
  ExpectRefused("docker.network", std::string(129, 'n'));
  for (const char* good : {"none", "bridge", "mine"}) EXPECT_TRUE(Read({{"docker.network", good}})) << good;
}

TEST_F(OptionsTest, SandboxesAlwaysHaveAFilter) {
  for (const char* bad :
       {"unconfined", "", "off", "default", "profile.json", "../profile.json", "/nowhere/p"})
    ExpectRefused("docker.seccomp", bad);
  const std::string path = folder_ / "profile.json";
  for (const char* bad : {"", "{}", "unconfined", "[]", "{\"defaultAction\":", R"({"syscalls":[]})"}) {
    WriteText(path, bad);
    ExpectRefused("docker.seccomp", path);
  }
  const std::string profile = R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]})";
  WriteText(path, profile);
  const auto own = Read({{"docker.seccomp", path}});
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_EQ(own->seccomp, profile);
  const auto strict = Read({{"docker.seccomp", "strict"}});
  ASSERT_TRUE(strict);
  EXPECT_EQ(strict->seccomp, "");
}

TEST_F(OptionsTest, AFolderAsWorkspaceHasNoSize) {
  const auto refused = Read({{"sandbox.data_dir", folder_ / "data"}, {"docker.disk", "1073741824"}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, CSB_E_INVALID);
  EXPECT_THAT(refused.error().message, HasSubstr("docker.disk"));
  EXPECT_THAT(refused.error().hint, HasSubstr("sandbox.data_dir"));
  const auto folders = Read({{"sandbox.data_dir", folder_ / "data"}});
  ASSERT_TRUE(folders);
  EXPECT_EQ(folders->data_dir, folder_ / "data/docker");
}

TEST_F(OptionsTest, FoldersAreAbsolute) {
  for (const char* key : {"sandbox.state_dir", "sandbox.runtime_dir", "sandbox.data_dir"}) {
    const auto refused = Read({{key, "relative/folder"}});
    ASSERT_FALSE(refused) << key;
    EXPECT_THAT(refused.error().message, HasSubstr("relative/folder"));
  }
}

TEST_F(OptionsTest, AnEngineThatCantBeIsRefused) {
  ExpectRefused("docker.host", "ssh://host");
  ExpectRefused("docker.image", "");
  const auto refused = Read({{"docker.host", "tcp://engine"},
                             {"docker.tls_verify", "1"},
                             {"docker.cert_path", folder_ / "no-certificates"}});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("ca.pem"));
}

TEST(DockerLimits, SurviveBeingWrittenDown) {
  const Limits limits{.memory = 1 << 30, .cpu = 0.25, .pids = 7, .disk = 5, .network = "bridge"};
  json::Buffer buffer;
  json::Writer writer(buffer);
  WriteLimits(writer, limits);
  EXPECT_EQ(ReadLimits(Json(buffer.GetString())), limits);
}

TEST(DockerLimits, NonsenseReadsAsNone) {
  for (const std::string_view text : kHostileJson) EXPECT_EQ(ReadLimits(Json(text)), Limits{}) << text;
  const Limits negative = ReadLimits(Json(R"({"memory":-5,"cpu":"two","pids":1e30,"disk":[],"network":{}})"));
  EXPECT_EQ(negative, Limits{});
}

}  // namespace
}  // namespace csb::docker

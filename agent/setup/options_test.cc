// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/options.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace csb::agent {
namespace {

TEST(Options, ReadsWhatABackendWrites) {
  const auto options = ParseOptions({"--control",      "/run/c", "--workspace", "/workspace",
                                     "--user",         "1001",   "--group",     "1002",
                                     "--idle-timeout", "900",    "--env",       "A=b=c",
                                     "--env",          "B=",     "--python",    "/usr/bin/python3",
                                     "--tmp",          "/tmp",   "--lo",        "--block-routes",
                                     "10.0.0.0/8"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->server.control, "/run/c");
  EXPECT_TRUE(options->server.identity.separate);
  EXPECT_EQ(options->server.identity.uid, 1001u);
  EXPECT_EQ(options->server.identity.gid, 1002u);
  EXPECT_EQ(options->server.idle_timeout_ns, 900 * kSecond);
  EXPECT_EQ(options->server.commands.env.size(), 2u);
  EXPECT_TRUE(options->loopback);
  EXPECT_EQ(options->block_routes, "10.0.0.0/8");
  EXPECT_EQ(ParseOptions({"--fd", "3", "--user", "7"})->server.identity.gid, 7u);
}

TEST(Options, ReadsWhatOnlyContainersNeed) {
  const auto options = ParseOptions({"--control", "/run/clara/ctl", "--make-control", "--own-workspace",
                                     "--hosts", "--user", "7", "--python", "auto"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_TRUE(options->make_control && options->own_workspace && options->hosts);
  EXPECT_TRUE(options->server.commands.python_of_path);
  EXPECT_EQ(options->server.commands.python, "");
  const auto last = ParseOptions({"--fd", "3", "--python", "auto", "--python", "/usr/bin/python3"});
  EXPECT_FALSE(last->server.commands.python_of_path);
  EXPECT_EQ(last->server.commands.python, "/usr/bin/python3");
}

TEST(Options, ReadsWhatAMachineWithAnInitNeeds) {
  const auto both =
      ParseOptions({"--control", "/c", "--bridges", "/b", "--background", "--stop-init", "--seccomp", "/s"});
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ(both->server.bridges, "/b");
  EXPECT_EQ(OwnFolder(*both), "/b");
  EXPECT_TRUE(both->background && both->stop_init);
  EXPECT_EQ(both->seccomp, "/s");
  EXPECT_EQ(OwnFolder(*ParseOptions({"--bridges", "/b"})), "/b");
  EXPECT_EQ(OwnFolder(*ParseOptions({"--control", "/c", "--make-control"})), "/c");
  EXPECT_EQ(OwnFolder(*ParseOptions({"--control", "/c"})), "");
}

TEST(Options, ReadsAnAddress) {
  const auto options = ParseOptions(
      {"--fd", "3", "--address", "10.84.3.17/24", "--gateway", "10.84.3.1", "--nameserver", "9.9.9.9"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->ipv4.address.s_addr, htonl(0x0A540311));
  EXPECT_EQ(options->ipv4.prefix, 24);
  EXPECT_EQ(options->ipv4.gateway.s_addr, htonl(0x0A540301));
  EXPECT_EQ(options->ipv4.nameserver.s_addr, htonl(0x09090909));
  EXPECT_EQ(ParseOptions({"--fd", "3"})->ipv4.prefix, 0);
  EXPECT_TRUE(ParseOptions({"--fd", "3", "--address", "10.84.3.17/24"}));
  EXPECT_TRUE(ParseOptions({"--fd", "3", "--nameserver", "10.84.3.1"}));
  for (const char* wrong :
       {"10.84.3.17", "10.84.3.17/", "10.84.3.17/0", "10.84.3.17/33", "10.84.3.17/24x", "/24", "10.84.3/24",
        "127.0.0.1/8", "0.0.0.0/24", "224.0.0.1/4", "fd00::1/64", "10.84.3.17/-1"})
    EXPECT_FALSE(ParseOptions({"--fd", "3", "--address", wrong})) << wrong;
  for (const char* wrong : {"10.84.3.17", "10.84.4.1", "10.84.3.1/24", "", "x"})
    EXPECT_FALSE(ParseOptions({"--fd", "3", "--address", "10.84.3.17/24", "--gateway", wrong})) << wrong;
  EXPECT_FALSE(ParseOptions({"--fd", "3", "--gateway", "10.84.3.1"}));
  EXPECT_FALSE(ParseOptions({"--fd", "3", "--nameserver", "10.84.3.1\nsearch x"}));
}

TEST(Options, ReadsABridgeAndAReport) {
  const auto bridge = ParseOptions({"--connect", "/run/clara/ctl", "--host-id", "a-B_9"});
  ASSERT_TRUE(bridge) << bridge.error().message;
  EXPECT_EQ(bridge->bridge.folder, "/run/clara/ctl");
  EXPECT_EQ(bridge->bridge.host_id, "a-B_9");
  EXPECT_TRUE(ParseOptions({"--connect", "/c", "--host-id", std::string(64, 'x')}));
  EXPECT_TRUE(ParseOptions({"--report"})->report);
  EXPECT_EQ(ParseOptions({"--report", "--workspace", "/w"})->server.commands.workspace, "/w");
}

TEST(Options, RefusesWhatIsNoOption) {
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{},
                                             {"--control", "/c", "--fd", "3"},
                                             {"--control", "relative"},
                                             {"--fd", "-1"},
                                             {"--fd", "x"},
                                             {"--fd", "3", "--user", "4294967295"},
                                             {"--fd", "3", "--user", "-1"},
                                             {"--fd", "3", "--group", "1"},
                                             {"--fd", "3", "--idle-timeout", "nan"},
                                             {"--fd", "3", "--idle-timeout", "-1"},
                                             {"--fd", "3", "--env", "=x"},
                                             {"--fd", "3", "--colour", "red"},
                                             {"--fd", "3", "extra"},
                                             {"--connect", "/c"},
                                             {"--host-id", "a"},
                                             {"--connect", "/c", "--host-id", ""},
                                             {"--connect", "/c", "--host-id", "a/b"},
                                             {"--connect", "/c", "--host-id", std::string(65, 'x')},
                                             {"--connect", "/c", "--host-id", "a", "--control", "/c"},
                                             {"--fd", "3", "--make-control"},
                                             {"--bridges", "/b", "--make-control"},
                                             {"--fd", "3", "--bridges", "/b"},
                                             {"--control", "/c", "--bridges", "/c"},
                                             {"--control", "/c", "--background"},
                                             {"--fd", "3", "--seccomp", "relative"},
                                             {"--fd"}}) {
    const auto options = ParseOptions(wrong);
    EXPECT_FALSE(options) << (wrong.empty() ? "(none)" : wrong.back());
  }
}

}  // namespace
}  // namespace csb::agent

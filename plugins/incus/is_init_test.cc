// SPDX-License-Identifier: Apache-2.0
//
// Who is taken for an instance's process 1 is let in as its agent: what user code could arrange must not be.
#include "plugins/incus/is_init.h"

#include <gtest/gtest.h>

namespace csb::incus {
namespace {

constexpr char kName[] = "clara-01234567-ab-1";
constexpr char kStatus[] =
    "Name:\tclara-sandbox-a\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nPid:\t4711\nPPid:\t4700\n"
    "NStgid:\t4711\t1\nNSpid:\t4711\t1\nNSpgid:\t4711\t1\nNSsid:\t4711\t1\nVmPeak:\t 1024 kB\n";

std::string Status(const std::string& pids) {
  return "Name:\tx\nNStgid:\t4711\t1\nNSpid:" + pids + "\nNSpgid:\t4711\t1\n";
}
std::string Group(const std::string& path) { return "0::" + path + "\n"; }
std::string Payload(const std::string& name) { return Group("/lxc.payload." + name); }

TEST(IncusIsInit, TheInitIs) {
  EXPECT_TRUE(IsInit(kStatus, Payload(kName), kName));
  EXPECT_TRUE(IsInit(Status("\t4711\t1"), Payload(kName), kName));
  // LXC puts it in a group of its own on some machines; of the first version each controller has a line.
  EXPECT_TRUE(IsInit(kStatus, Group("/lxc.payload." + std::string(kName) + "/init.scope"), kName));
  EXPECT_TRUE(IsInit(
      kStatus, "12:pids:/user.slice\n5:memory:/lxc.payload." + std::string(kName) + "\n0::/system.slice\n",
      kName));
}

TEST(IncusIsInit, AnotherProcessInsideIsNot) {
  for (const char* pids : {"\t4711\t2", "\t4711\t11", "\t1\t4711", "\t4711\t01", "\t4711\t1x", "\t4711"})
    EXPECT_FALSE(IsInit(Status(pids), Payload(kName), kName)) << pids;
}

// The first of a namespace that code in the sandbox made.
TEST(IncusIsInit, TheFirstOfANamespaceFurtherDownIsNot) {
  for (const char* pids : {"\t4711\t37\t1", "\t4711\t1\t1", "\t4711\t37\t5\t1"})
    EXPECT_FALSE(IsInit(Status(pids), Payload(kName), kName)) << pids;
}

TEST(IncusIsInit, AProcessOfThisMachineIsNot) {
  EXPECT_FALSE(IsInit(Status("\t1"), Payload(kName), kName)) << "this machine's own first";
  EXPECT_FALSE(IsInit(kStatus, Group("/user.slice"), kName));
  EXPECT_FALSE(IsInit(kStatus, Group("/"), kName));
  EXPECT_FALSE(IsInit(kStatus, Group("/lxc.monitor." + std::string(kName)), kName)) << "what watches it";
}

TEST(IncusIsInit, OneOfAnotherInstanceIsNot) {
  for (const char* other : {"clara-01234567-ab-12", "clara-01234567-ab-1-1", "clara-01234567-ab-1x",
                            "clara-01234567-ab-", "clara-01234567-ab-2", "team_clara-01234567-ab-1",
                            "xclara-01234567-ab-1", "clara-01234567-ab-1.scope", ""})
    EXPECT_FALSE(IsInit(kStatus, Payload(other), kName)) << other;
  EXPECT_FALSE(IsInit(kStatus, Payload(kName), "clara-01234567-ab-12"));
  EXPECT_FALSE(IsInit(kStatus, Payload(kName), "team_clara-01234567-ab-1"));
  EXPECT_TRUE(IsInit(kStatus, Payload("team_clara-01234567-ab-1"), "team_clara-01234567-ab-1"));
}

TEST(IncusIsInit, TextThatIsNoneOfTheKernelsIsNot) {
  for (const char* status : {"", "\n", "NSpid:", "NSpid:\n", "NSpid:\t\n", "NSpid: 1",
                             "Name:\tNSpid: 4711 1\n", "xNSpid:\t4711\t1\n", "NStgid:\t4711\t1\n"})
    EXPECT_FALSE(IsInit(status, Payload(kName), kName)) << status;
  for (const char* group : {"", "\n", "lxc.payload.", "0::/lxc.payload"})
    EXPECT_FALSE(IsInit(kStatus, group, kName)) << group;
  EXPECT_FALSE(IsInit(kStatus, Group("/lxc.payload." + std::string(kName)).substr(0, 20), kName));
}

// Of this machine's processes as they are.
TEST(IncusIsInit, ThisTestIsNoInit) {
  EXPECT_FALSE(IsInitOf("default", kName)(getpid()));
  EXPECT_FALSE(IsInitOf("default", kName)(1));
  EXPECT_FALSE(IsInitOf("default", kName)(0)) << "there is none such";
}

}  // namespace
}  // namespace csb::incus

// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "clara_sandbox/operation.h"

namespace csb::host {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Metrics, RequestsByOperationBackendAndStatus) {
  Metrics m({"bubblewrap", "docker"}, "1.2.3");
  m.Request(CSB_OP_SHELL, 0, CSB_OK, 0.002);
  m.Request(CSB_OP_SHELL, 0, CSB_OK, 0.2);
  m.Request(CSB_OP_EXECUTE, 1, CSB_E_GONE, 1);
  m.Request(CSB_OP_HEALTH, Metrics::kNoBackend, CSB_OK, 0);
  m.Request(4711, 99, 4711, 0);
  const std::string text = m.Text();
  EXPECT_THAT(text, HasSubstr(R"(csb_requests_total{backend="bubblewrap",operation="shell",status="ok"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_requests_total{backend="docker",operation="execute",status="gone"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_requests_total{backend="none",operation="health",status="ok"} 1)"));
  EXPECT_THAT(text,
              HasSubstr(R"(csb_requests_total{backend="none",operation="unknown",status="unknown"} 1)"));
  EXPECT_THAT(text,
              HasSubstr(R"(csb_request_duration_seconds_count{backend="bubblewrap",operation="shell"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(operation="shell",le="0.0025"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_build_info{version="1.2.3"} 1)"));
}

TEST(Metrics, CausesAndLiveSandboxes) {
  Metrics m({"bubblewrap"}, "1");
  m.Ended("oom");
  m.Ended("no such cause");
  for (int i = 0; i < 7; ++i) EXPECT_EQ(m.SandboxStarted(0, ""), "");
  m.SandboxStarted(5, "");
  const std::string text = m.Text();
  EXPECT_THAT(text, HasSubstr(R"(csb_ends_total{cause="oom"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_ends_total{cause="other"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_sandboxes{backend="bubblewrap"} 7)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_channel_reconnects_total{backend="bubblewrap"} 0)"));
}

TEST(Metrics, LiveSandboxesByMember) {
  Metrics m({"docker", "incus"}, "1");
  const std::string one = m.SandboxStarted(1, "m1");
  m.SandboxStarted(1, "m1");
  m.SandboxStarted(1, "m-2.example");
  m.SandboxStarted(1, "");
  EXPECT_EQ(one, "m1");
  m.SandboxEnded(1, one);
  m.SandboxEnded(1, "never seen");
  const std::string text = m.Text();
  EXPECT_THAT(text, HasSubstr(R"(csb_sandboxes{backend="docker"} 0)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_sandboxes{backend="incus"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_sandboxes{backend="incus",member="m1"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(csb_sandboxes{backend="incus",member="m-2.example"} 1)"));
}

TEST(Metrics, MembersAreBounded) {
  Metrics m({"incus"}, "1");
  const auto series = [&] {
    const std::string text = m.Text();
    size_t n = 0;
    for (size_t at = 0; (at = text.find("\ncsb_sandboxes{", at)) != std::string::npos; ++at) ++n;
    return n;
  };
  EXPECT_EQ(m.SandboxStarted(0, "a\"} 1\nforged{x=\""), "other");
  EXPECT_EQ(m.SandboxStarted(0, std::string(101, 'm')), "other");
  EXPECT_THAT(m.Text(), HasSubstr(R"(csb_sandboxes{backend="incus",member="other"} 2)"));
  EXPECT_THAT(m.Text(), Not(HasSubstr("forged")));
  std::vector<std::string> counted;
  for (size_t i = 0; i < 2 * Metrics::kMaxMembers; ++i)
    counted.push_back(m.SandboxStarted(0, "m" + std::to_string(i)));
  EXPECT_EQ(counted[0], "m0");
  EXPECT_EQ(counted.back(), "other");
  const size_t most = series();
  EXPECT_LE(most, Metrics::kMaxMembers + 2) << "with \"other\", and the one without a member";
  // Whoever was counted as another stays so to the end, though there is room by then.
  for (const std::string& label : counted) m.SandboxEnded(0, label);
  EXPECT_THAT(m.Text(), HasSubstr(R"(csb_sandboxes{backend="incus",member="other"} 2)"));
  EXPECT_EQ(m.SandboxStarted(0, "new"), "new") << "members without sandboxes make room";
  EXPECT_LT(series(), most);
  EXPECT_THAT(m.Text(), Not(HasSubstr(R"(member="m0")")));
}

TEST(Metrics, PluginsCountWithinBounds) {
  Metrics m({"bubblewrap"}, "1");
  m.Count("csb_channel_reconnects_total", R"({"backend":"bubblewrap"})", 2);
  m.Count("made_up_total", "", 1);
  m.Count("made_up_total", "{}", 1);
  for (int i = 0; i < 1000; ++i) m.Count("wild_total", R"({"id":")" + std::to_string(i) + R"("})", 1);
  const std::string text = m.Text();
  EXPECT_THAT(text, HasSubstr(R"(csb_channel_reconnects_total{backend="bubblewrap"} 2)"));
  EXPECT_THAT(text, HasSubstr("made_up_total 2"));
  EXPECT_THAT(text, HasSubstr(R"(wild_total{id="99"} 1)"));
  EXPECT_THAT(text, Not(HasSubstr(R"(wild_total{id="100"})")));
  EXPECT_THAT(text, HasSubstr("csb_metrics_dropped_total 900"));
}

TEST(Metrics, BadCountsAreDroppedAndCounted) {
  Metrics m({}, "1");
  m.Count("", "", 1);
  m.Count("1a", "", 1);
  m.Count("has space", "", 1);
  m.Count("__reserved", "", 1);
  m.Count("a_total", "[1]", 1);
  m.Count("a_total", R"({"x":1})", 1);
  m.Count("a_total", R"({"bad-name":"1"})", 1);
  m.Count("a_total", "", -1);
  m.Count("csb_sandboxes", "", 1);  // another type has that name
  m.Count("csb_requests_total", "", 1);
  EXPECT_THAT(m.Text(), HasSubstr("csb_metrics_dropped_total 10"));
}

TEST(Metrics, FromManyThreads) {
  Metrics m({"a", "b"}, "1");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        m.Request(CSB_OP_SHELL, i % 2, CSB_OK, 0.001);
        m.Count("x_total", R"({"t":"1"})", 1);
        if (i % 100 == 0) (void)m.Text();
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_THAT(m.Text(), HasSubstr(R"(csb_requests_total{backend="b",operation="shell",status="ok"} 1000)"));
  EXPECT_THAT(m.Text(), HasSubstr(R"(x_total{t="1"} 2000)"));
}

}  // namespace
}  // namespace csb::host

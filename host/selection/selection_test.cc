// SPDX-License-Identifier: Apache-2.0
#include "host/selection/selection.h"

#include <gtest/gtest.h>

namespace csb::host {
namespace {

// One word a candidate: "docker" usable, "docker-" not available, "docker?" no probe yet, "docker!"
// breaker open, "docker~disk" cannot enforce disk, "incus*" makes virtual machines.
Candidate Make(const std::string& word) {
  const size_t end = word.find_first_of("-?!~*");
  Candidate c{word.substr(0, end), ProbeResult{.available = true, .enforces = "{}"}, std::nullopt};
  if (end == std::string::npos) return c;
  switch (word[end]) {
    case '-':
      c.probe = ProbeResult{
          .available = false, .reason = c.name + " daemon not running", .hint = "start " + c.name};
      break;
    case '?':
      c.probe.reset();
      break;
    case '!':
      c.breaker_reason = "connection refused";
      break;
    case '~':
      c.probe->not_enforced.push_back(word.substr(end + 1));
      break;
    case '*':
      c.probe->virtual_machine = true;
      break;
  }
  return c;
}

struct Row {
  const char* what;
  const char* mode;
  std::vector<std::string> candidates;
  const char* pinned;
  const char* requested;
  std::vector<std::string> required;
  const char* chosen;  // "" for an error
  csb_status code;
  const char* message;  // a part of it, or of the chosen one's reason
};

class SelectionTable : public testing::TestWithParam<Row> {};

TEST_P(SelectionTable, Chooses) {
  const Row& row = GetParam();
  SelectionInput in;
  in.mode = row.mode;
  in.order = {"docker", "incus", "bubblewrap"};
  for (const auto& word : row.candidates) in.candidates.push_back(Make(word));
  if (row.pinned != nullptr) in.pinned = row.pinned;
  if (row.requested != nullptr) in.requested = row.requested;
  in.required = row.required;

  const Selection s = Select(in);
  ASSERT_EQ(s.verdicts.size(), in.candidates.size()) << "one verdict for each candidate";
  size_t chosen = 0;
  for (const auto& v : s.verdicts) {
    EXPECT_FALSE(v.reason.empty()) << v.name;
    chosen += v.chosen ? 1 : 0;
  }
  if (row.chosen[0] == '\0') {
    EXPECT_FALSE(s.chosen);
    EXPECT_EQ(chosen, 0u);
    EXPECT_EQ(s.error.code, row.code) << s.error.message;
    EXPECT_NE(s.error.message.find(row.message), std::string::npos) << s.error.message;
    return;
  }
  ASSERT_TRUE(s.chosen) << s.error.message;
  EXPECT_EQ(in.candidates[*s.chosen].name, row.chosen);
  EXPECT_EQ(chosen, 1u);
  for (const auto& v : s.verdicts)
    if (v.chosen) {
      EXPECT_EQ(v.name, row.chosen);
      EXPECT_NE(v.reason.find(row.message), std::string::npos) << v.reason;
    }
}

constexpr csb_status kUn = CSB_E_UNAVAILABLE;
constexpr csb_status kCon = CSB_E_CONFLICT;

INSTANTIATE_TEST_SUITE_P(
    Rules, SelectionTable,
    testing::Values(
        Row{"first of the order",
            "auto",
            {"bubblewrap", "docker"},
            nullptr,
            nullptr,
            {},
            "docker",
            0,
            "first usable"},
        Row{"the order counts, not the load order",
            "auto",
            {"incus", "bubblewrap", "docker"},
            nullptr,
            nullptr,
            {},
            "docker",
            0,
            ""},
        Row{"next when the first is down",
            "auto",
            {"docker-", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "bubblewrap",
            0,
            ""},
        Row{"next when two are down",
            "auto",
            {"docker-", "incus-", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "bubblewrap",
            0,
            ""},
        Row{"next while a breaker is open",
            "auto",
            {"docker!", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "bubblewrap",
            0,
            ""},
        Row{"next when a probe hangs",
            "auto",
            {"docker?", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "bubblewrap",
            0,
            ""},
        Row{"remote before the order",
            "auto",
            {"docker", "remote"},
            nullptr,
            nullptr,
            {},
            "remote",
            0,
            "remote is configured"},
        Row{"local when remote is not configured",
            "auto",
            {"docker", "remote-"},
            nullptr,
            nullptr,
            {},
            "docker",
            0,
            ""},
        Row{"local when remote's breaker is open",
            "auto",
            {"remote!", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "bubblewrap",
            0,
            ""},
        Row{"unordered backends are never automatic",
            "auto",
            {"gvisor"},
            nullptr,
            nullptr,
            {},
            "",
            kUn,
            "sandbox.order"},
        Row{"unordered beside an ordered one",
            "auto",
            {"gvisor", "incus"},
            nullptr,
            nullptr,
            {},
            "incus",
            0,
            ""},
        Row{"nothing loaded", "auto", {}, nullptr, nullptr, {}, "", kUn, "no sandbox backend is loaded"},
        Row{"all down names each",
            "auto",
            {"docker-", "bubblewrap-"},
            nullptr,
            nullptr,
            {},
            "",
            kUn,
            "docker daemon not running; bubblewrap: bubblewrap daemon not running"},
        Row{"no probe answered", "auto", {"docker?"}, nullptr, nullptr, {}, "", kUn, "has not answered"},
        Row{"required skips who cannot",
            "auto",
            {"docker~disk", "bubblewrap"},
            nullptr,
            nullptr,
            {"disk"},
            "bubblewrap",
            0,
            ""},
        Row{"required and nobody can",
            "auto",
            {"bubblewrap~disk"},
            nullptr,
            nullptr,
            {"disk"},
            "",
            kUn,
            "cannot enforce disk"},
        Row{"unenforced but not required",
            "auto",
            {"bubblewrap~disk"},
            nullptr,
            nullptr,
            {"memory"},
            "bubblewrap",
            0,
            ""},
        Row{"named",
            "bubblewrap",
            {"docker", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "bubblewrap",
            0,
            "mode bubblewrap"},
        Row{"named and down never falls back",
            "docker",
            {"docker-", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "",
            kUn,
            "docker daemon not running"},
        Row{"named and its breaker open",
            "docker",
            {"docker!", "bubblewrap"},
            nullptr,
            nullptr,
            {},
            "",
            kUn,
            "connection refused"},
        Row{"named and not loaded", "docker", {"bubblewrap"}, nullptr, nullptr, {}, "", kUn, "not loaded"},
        Row{"named outside the order", "gvisor", {"docker", "gvisor"}, nullptr, nullptr, {}, "gvisor", 0, ""},
        Row{"named remote", "remote", {"docker", "remote"}, nullptr, nullptr, {}, "remote", 0, ""},
        Row{"named and required missing",
            "bubblewrap",
            {"bubblewrap~seccomp"},
            nullptr,
            nullptr,
            {"seccomp"},
            "",
            kUn,
            "seccomp"},
        Row{"incus makes what its type says", "incus", {"incus"}, nullptr, nullptr, {}, "incus", 0, ""},
        Row{"incus-vm is incus with machines",
            "incus-vm",
            {"incus*"},
            nullptr,
            nullptr,
            {},
            "incus",
            0,
            "mode incus-vm"},
        Row{"incus-vm never a container",
            "incus-vm",
            {"incus"},
            nullptr,
            nullptr,
            {},
            "",
            kUn,
            "virtual machines"},
        Row{"incus-vm not loaded", "incus-vm", {"docker"}, nullptr, nullptr, {}, "", kUn, "not loaded"},
        Row{"pinned wins over the order",
            "auto",
            {"docker", "bubblewrap"},
            "bubblewrap",
            nullptr,
            {},
            "bubblewrap",
            0,
            "files are on bubblewrap"},
        Row{"pinned wins over remote",
            "auto",
            {"remote", "bubblewrap"},
            "bubblewrap",
            nullptr,
            {},
            "bubblewrap",
            0,
            ""},
        Row{"pinned and down: nowhere else",
            "auto",
            {"docker-", "bubblewrap"},
            "docker",
            nullptr,
            {},
            "",
            kUn,
            "docker daemon not running"},
        Row{"pinned and breaker open: nowhere else",
            "auto",
            {"docker!", "bubblewrap"},
            "docker",
            nullptr,
            {},
            "",
            kUn,
            "connection refused"},
        Row{"pinned and not loaded: nowhere else",
            "auto",
            {"bubblewrap"},
            "docker",
            nullptr,
            {},
            "",
            kUn,
            "files are on backend docker, which is not loaded"},
        Row{"pinned outside the order stays",
            "auto",
            {"docker", "gvisor"},
            "gvisor",
            nullptr,
            {},
            "gvisor",
            0,
            ""},
        Row{"pinned against a named mode",
            "docker",
            {"docker", "bubblewrap"},
            "bubblewrap",
            nullptr,
            {},
            "",
            kCon,
            "files are on backend bubblewrap"},
        Row{"pinned and the same named mode",
            "bubblewrap",
            {"docker", "bubblewrap"},
            "bubblewrap",
            nullptr,
            {},
            "bubblewrap",
            0,
            ""},
        Row{"pinned to incus in mode incus-vm", "incus-vm", {"incus*"}, "incus", nullptr, {}, "incus", 0, ""},
        Row{"pinned and required missing",
            "auto",
            {"docker~disk", "bubblewrap"},
            "docker",
            nullptr,
            {"disk"},
            "",
            kUn,
            "cannot enforce disk"},
        Row{"requested",
            "auto",
            {"docker", "bubblewrap"},
            nullptr,
            "bubblewrap",
            {},
            "bubblewrap",
            0,
            "request names"},
        Row{"requested and down never falls back",
            "auto",
            {"docker", "bubblewrap-"},
            nullptr,
            "bubblewrap",
            {},
            "",
            kUn,
            "daemon not running"},
        Row{"requested and not loaded", "auto", {"docker"}, nullptr, "nosuch", {}, "", kUn, "not loaded"},
        Row{"requested against the pin",
            "auto",
            {"docker", "bubblewrap"},
            "docker",
            "bubblewrap",
            {},
            "",
            kCon,
            "files are on docker"},
        Row{"requested as pinned",
            "auto",
            {"docker", "bubblewrap"},
            "bubblewrap",
            "bubblewrap",
            {},
            "bubblewrap",
            0,
            ""},
        Row{"requested against the mode",
            "docker",
            {"docker", "bubblewrap"},
            nullptr,
            "bubblewrap",
            {},
            "",
            kCon,
            "mode docker uses docker"}),
    [](const testing::TestParamInfo<Row>& info) {
      std::string name;
      for (const char* c = info.param.what; *c != '\0'; ++c) name += isalnum(*c) != 0 ? *c : '_';
      return name;
    });

TEST(Selection, ErrorCarriesTheHintOfTheFirst) {
  SelectionInput in{.mode = "auto", .order = {"docker", "bubblewrap"}};
  in.candidates = {Make("docker-"), Make("bubblewrap-")};
  const Selection s = Select(in);
  EXPECT_EQ(s.error.hint, "start docker");
  EXPECT_TRUE(s.error.retryable);
}

TEST(Selection, ConsideredIsWhatHasToBeKnown) {
  SelectionInput in{.mode = "auto", .order = {"docker", "bubblewrap"}};
  in.candidates = {Make("bubblewrap"), Make("gvisor"), Make("docker"), Make("remote")};
  EXPECT_EQ(Considered(in), (std::vector<size_t>{3, 2, 0}));
  in.pinned = "bubblewrap";
  EXPECT_EQ(Considered(in), std::vector<size_t>{0});
  in.pinned.reset();
  in.mode = "gvisor";
  EXPECT_EQ(Considered(in), std::vector<size_t>{1});
}

TEST(Probe, ReadsWhatABackendSays) {
  const ProbeResult p = ParseProbe(
      R"({"available":true,"version":"bubblewrap 0.8.0","isolation":"namespaces","details":{"type":"vm"},)"
      R"("enforces":{"memory":{"enforced":true},"disk":{"enforced":false,"by":"no quota"}}})");
  EXPECT_TRUE(p.available);
  EXPECT_EQ(p.version, "bubblewrap 0.8.0");
  EXPECT_TRUE(p.virtual_machine);
  EXPECT_EQ(p.not_enforced, std::vector<std::string>{"disk"});
}

TEST(Probe, AnythingElseIsNotAvailable) {
  for (const char* text : {"", "[]", "{", "\"yes\"", R"({"available":"yes"})", R"({"available":1})", "\xff"})
    EXPECT_FALSE(ParseProbe(text).available) << text;
  EXPECT_EQ(ParseProbe("{}").reason, "its probe's result does not say whether it is available");
}

}  // namespace
}  // namespace csb::host

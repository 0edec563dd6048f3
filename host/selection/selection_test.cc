// SPDX-License-Identifier: Apache-2.0
#include "host/selection/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace csb::host {
namespace {

// One word a candidate, a name and marks behind it: "docker" usable, "docker-" not available, "docker?" no
// probe yet, "docker!" breaker open, "docker~disk" cannot enforce disk, "incus*" makes virtual machines,
// "docker%none" and "docker%bridge" what its probe says of the network.
Candidate Make(const std::string& word) {
  static constexpr const char* kMarks = "-?!~*%";
  size_t at = word.find_first_of(kMarks);
  Candidate c{word.substr(0, at), ProbeResult{.available = true, .enforces = "{}"}, std::nullopt};
  while (at < word.size()) {
    const size_t next = std::min(word.find_first_of(kMarks, at + 1), word.size());
    const std::string value = word.substr(at + 1, next - at - 1);
    switch (word[at]) {
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
        c.probe->not_enforced.push_back(value);
        break;
      case '*':
        c.probe->virtual_machine = true;
        break;
      case '%':
        c.probe->network_none = value == "none";
        break;
    }
    at = next;
  }
  return c;
}

std::vector<std::string> Words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

struct Row {
  std::string what, mode;
  std::vector<std::string> candidates;
  std::string pinned, requested;
  std::vector<std::string> choices, required;
  std::string result;   // the chosen one; or "unavailable", "conflict", "forbidden"
  std::string message;  // a part of the error's, or of the chosen one's reason
};

// The order is always "docker incus bubblewrap".
constexpr char kTable[] = R"(
# what                                      | mode       | candidates              | pin        | request    | choices    | required | result | message
first of the order                          | auto       | bubblewrap docker       |            |            |            |          | docker | first usable
the order counts and not the load order     | auto       | incus bubblewrap docker |            |            |            |          | docker |
next when the first is down                 | auto       | docker- bubblewrap      |            |            |            |          | bubblewrap |
next when two are down                      | auto       | docker- incus- bubblewrap |          |            |            |          | bubblewrap |
next while a breaker is open                | auto       | docker! bubblewrap      |            |            |            |          | bubblewrap |
next when a probe hangs                     | auto       | docker? bubblewrap      |            |            |            |          | bubblewrap |
only the last is well                       | auto       | docker! incus? bubblewrap |          |            |            |          | bubblewrap |
remote before the order                     | auto       | docker remote           |            |            |            |          | remote | remote is configured
local when remote is down                   | auto       | docker remote-          |            |            |            |          | docker |
local when the breaker of remote is open    | auto       | remote! bubblewrap      |            |            |            |          | bubblewrap |
local when remote has not answered          | auto       | remote? docker          |            |            |            |          | docker |
remote alone                                | auto       | remote                  |            |            |            |          | remote |
remote that cannot guarantee                | auto       | remote~disk docker      |            |            |            | disk     | docker |
unordered backends are never automatic      | auto       | gvisor                  |            |            |            |          | unavailable | sandbox.order
unordered beside an ordered one             | auto       | gvisor incus            |            |            |            |          | incus |
unordered is no way out                     | auto       | gvisor docker-          |            |            |            |          | unavailable | docker daemon not running
nothing loaded                              | auto       |                         |            |            |            |          | unavailable | no sandbox backend is loaded
all down names each                         | auto       | docker- bubblewrap-     |            |            |            |          | unavailable | docker daemon not running; bubblewrap: bubblewrap daemon not running
no probe answered                           | auto       | docker?                 |            |            |            |          | unavailable | has not answered
every breaker open                          | auto       | docker! incus!          |            |            |            |          | unavailable | connection refused
required skips who cannot                   | auto       | docker~disk bubblewrap  |            |            |            | disk     | bubblewrap |
required and nobody can                     | auto       | bubblewrap~disk         |            |            |            | disk     | unavailable | cannot enforce disk
unenforced but not required                 | auto       | bubblewrap~disk         |            |            |            | memory   | bubblewrap |
two required and one is missing             | auto       | docker~pids incus       |            |            |            | memory pids | incus |
two required and each lacks another         | auto       | docker~pids incus~memory |           |            |            | memory pids | unavailable | docker: cannot enforce pids on this machine, which is required; incus: cannot enforce memory
two missing are named together              | auto       | docker~memory~pids      |            |            |            | memory pids | unavailable | cannot enforce memory, pids
userns required                             | auto       | docker~userns incus     |            |            |            | userns   | incus |
no network required and there is one        | auto       | docker%bridge incus%none |           |            |            | network-none | incus |
no network required and there is none       | auto       | docker%none incus%none  |            |            |            | network-none | docker |
no network required and nobody can          | auto       | docker%bridge           |            |            |            | network-none | unavailable | gives sandboxes a network
no network required and not said            | auto       | docker                  |            |            |            | network-none | docker |
machines required                           | auto       | docker incus* bubblewrap |           |            |            | vm       | incus |
machines required and nobody makes them     | auto       | docker incus            |            |            |            | vm       | unavailable | makes no virtual machines
machines required of remote                 | auto       | remote docker incus*    |            |            |            | vm       | incus |
all guarantees at once                      | auto       | docker%none incus*%none~disk |       |            |            | vm network-none memory | incus |
a limit and a guarantee are missing         | auto       | docker~disk%bridge      |            |            |            | disk network-none | unavailable | cannot enforce disk on this machine, which is required; gives sandboxes a network
named                                       | bubblewrap | docker bubblewrap       |            |            |            |          | bubblewrap | mode bubblewrap
named and down never falls back             | docker     | docker- bubblewrap      |            |            |            |          | unavailable | docker daemon not running
named and its breaker open                  | docker     | docker! bubblewrap      |            |            |            |          | unavailable | connection refused
named and not answered                      | docker     | docker? bubblewrap      |            |            |            |          | unavailable | has not answered
named and not loaded                        | docker     | bubblewrap              |            |            |            |          | unavailable | not loaded
named outside the order                     | gvisor     | docker gvisor           |            |            |            |          | gvisor |
named remote                                | remote     | docker remote           |            |            |            |          | remote |
named remote and down                       | remote     | docker remote-          |            |            |            |          | unavailable | remote daemon not running
named and required missing                  | bubblewrap | docker bubblewrap~seccomp |          |            |            | seccomp  | unavailable | seccomp
named and required there                    | bubblewrap | bubblewrap~disk         |            |            |            | seccomp  | bubblewrap |
incus makes what its type says              | incus      | incus                   |            |            |            |          | incus |
incus with machines                         | incus      | incus*                  |            |            |            |          | incus |
incus with required machines                | incus      | incus                   |            |            |            | vm       | unavailable | makes no virtual machines
incus-vm is incus with machines             | incus-vm   | incus*                  |            |            |            |          | incus | mode incus-vm
incus-vm never a container                  | incus-vm   | incus                   |            |            |            |          | unavailable | virtual machines
incus-vm not loaded                         | incus-vm   | docker                  |            |            |            |          | unavailable | not loaded
pinned wins over the order                  | auto       | docker bubblewrap       | bubblewrap |            |            |          | bubblewrap | files are on bubblewrap
pinned wins over remote                     | auto       | remote bubblewrap       | bubblewrap |            |            |          | bubblewrap |
pinned to remote                            | auto       | remote docker           | remote     |            |            |          | remote |
pinned to remote and it is down             | auto       | remote- docker          | remote     |            |            |          | unavailable | remote daemon not running
pinned and down goes nowhere else           | auto       | docker- bubblewrap      | docker     |            |            |          | unavailable | docker daemon not running
pinned and breaker open goes nowhere else   | auto       | docker! bubblewrap      | docker     |            |            |          | unavailable | connection refused
pinned and no probe goes nowhere else       | auto       | docker? bubblewrap      | docker     |            |            |          | unavailable | has not answered
pinned and not loaded goes nowhere else     | auto       | bubblewrap              | docker     |            |            |          | unavailable | files are on backend docker, which is not loaded
pinned and nothing loaded                   | auto       |                         | docker     |            |            |          | unavailable | not loaded
pinned outside the order stays              | auto       | docker gvisor           | gvisor     |            |            |          | gvisor |
pinned against a named mode                 | docker     | docker bubblewrap       | bubblewrap |            |            |          | conflict | files are on backend bubblewrap
pinned and the same named mode              | bubblewrap | docker bubblewrap       | bubblewrap |            |            |          | bubblewrap |
pinned to incus in mode incus-vm            | incus-vm   | incus*                  | incus      |            |            |          | incus |
pinned to incus that makes containers now   | incus-vm   | incus                   | incus      |            |            |          | unavailable | virtual machines
pinned and required missing                 | auto       | docker~disk bubblewrap  | docker     |            |            | disk     | unavailable | cannot enforce disk
pinned and has a network now                | auto       | docker%bridge incus%none | docker    |            |            | network-none | unavailable | gives sandboxes a network
requested                                   | auto       | docker bubblewrap       |            | bubblewrap | all        |          | bubblewrap | request names
requested of those allowed                  | auto       | docker bubblewrap       |            | bubblewrap | incus bubblewrap |    | bubblewrap |
requested and no choice is allowed          | auto       | docker bubblewrap       |            | bubblewrap |            |          | forbidden | requests may not choose
requested and another is allowed            | auto       | docker bubblewrap       |            | bubblewrap | docker incus |        | forbidden | choose only of: docker, incus
requested and forbidden though it is first  | auto       | docker bubblewrap       |            | docker     |            |          | forbidden |
requested and down never falls back         | auto       | docker bubblewrap-      |            | bubblewrap | all        |          | unavailable | daemon not running
requested and breaker open                  | auto       | docker bubblewrap!      |            | bubblewrap | all        |          | unavailable | connection refused
requested and not loaded                    | auto       | docker                  |            | nosuch     | all        |          | unavailable | not loaded
requested outside the order                 | auto       | docker gvisor           |            | gvisor     | gvisor     |          | gvisor |
requested without what is required          | auto       | docker bubblewrap~disk  |            | bubblewrap | all        | disk     | unavailable | cannot enforce disk
requested against the pin                   | auto       | docker bubblewrap       | docker     | bubblewrap | all        |          | conflict | files are on docker
requested against the pin and forbidden     | auto       | docker bubblewrap       | docker     | bubblewrap |            |          | forbidden |
requested as pinned                         | auto       | docker bubblewrap       | bubblewrap | bubblewrap | all        |          | bubblewrap |
requested as pinned is no choice            | auto       | docker bubblewrap       | bubblewrap | bubblewrap |            |          | bubblewrap |
requested as pinned and down                | auto       | docker bubblewrap-      | bubblewrap | bubblewrap |            |          | unavailable | files are on backend bubblewrap
requested against the mode                  | docker     | docker bubblewrap       |            | bubblewrap | all        |          | conflict | mode docker uses docker
requested as the mode says is no choice     | docker     | docker bubblewrap       |            | docker     |            |          | docker |
machines requested                          | auto       | docker incus*           |            | incus-vm   | incus      |          | incus | request names
machines requested by that name             | auto       | docker incus*           |            | incus-vm   | incus-vm   |          | incus |
machines requested and only containers made | auto       | docker incus            |            | incus-vm   | all        |          | unavailable | the request asks for
)";

std::vector<Row> Rows() {
  std::vector<Row> rows;
  std::istringstream lines(kTable);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, '|');) {
      const size_t from = cell.find_first_not_of(' '), to = cell.find_last_not_of(' ');
      cells.push_back(from == std::string::npos ? "" : cell.substr(from, to - from + 1));
    }
    cells.resize(9);
    rows.push_back({cells[0], cells[1], Words(cells[2]), cells[3], cells[4], Words(cells[5]), Words(cells[6]),
                    cells[7], cells[8]});
  }
  return rows;
}

SelectionInput InputOf(const Row& row) {
  SelectionInput in{.mode = row.mode, .order = {"docker", "incus", "bubblewrap"}};
  for (const auto& word : row.candidates) in.candidates.push_back(Make(word));
  if (!row.pinned.empty()) in.pinned = row.pinned;
  if (!row.requested.empty()) in.requested = row.requested;
  in.choices = row.choices;
  in.required = row.required;
  return in;
}

class SelectionTable : public testing::TestWithParam<Row> {};

TEST_P(SelectionTable, Chooses) {
  const Row& row = GetParam();
  const SelectionInput in = InputOf(row);
  const Selection s = Select(in);
  ASSERT_EQ(s.verdicts.size(), in.candidates.size()) << "one verdict for each candidate";
  size_t chosen = 0;
  for (const auto& v : s.verdicts) {
    EXPECT_FALSE(v.reason.empty()) << v.name;
    chosen += v.chosen ? 1 : 0;
  }
  const std::map<std::string, csb_status> errors = {
      {"unavailable", CSB_E_UNAVAILABLE}, {"conflict", CSB_E_CONFLICT}, {"forbidden", CSB_E_FORBIDDEN}};
  if (const auto error = errors.find(row.result); error != errors.end()) {
    EXPECT_FALSE(s.chosen);
    EXPECT_EQ(chosen, 0u);
    EXPECT_EQ(s.error.code, error->second) << s.error.message;
    EXPECT_EQ(s.error.retryable, error->second == CSB_E_UNAVAILABLE);
    EXPECT_NE(s.error.message.find(row.message), std::string::npos) << s.error.message;
    return;
  }
  ASSERT_TRUE(s.chosen) << s.error.message;
  EXPECT_EQ(in.candidates[*s.chosen].name, row.result);
  EXPECT_EQ(chosen, 1u);
  for (const auto& v : s.verdicts)
    if (v.chosen) {
      EXPECT_EQ(v.name, row.result);
      EXPECT_NE(v.reason.find(row.message), std::string::npos) << v.reason;
    }
}

INSTANTIATE_TEST_SUITE_P(Rules, SelectionTable, testing::ValuesIn(Rows()),
                         [](const testing::TestParamInfo<Row>& info) {
                           std::string name = info.param.what;
                           for (char& c : name)
                             if (isalnum(c) == 0) c = '_';
                           return name;
                         });

TEST(Selection, TheTableIsWhole) { EXPECT_GE(Rows().size(), 60u); }

// Whatever else there is: a user whose files are somewhere is served there or nowhere.
TEST(Selection, APinIsNeverLeftWhateverTheRest) {
  for (const Row& row : Rows())
    for (const char* pin : {"docker", "incus", "bubblewrap", "remote", "gvisor", "gone"}) {
      SelectionInput in = InputOf(row);
      in.pinned = pin;
      const Selection s = Select(in);
      const std::string at = s.chosen ? in.candidates[*s.chosen].name : pin;
      EXPECT_EQ(at, pin) << row.what;
    }
}

TEST(Selection, ErrorCarriesTheHintOfTheFirst) {
  SelectionInput in{.mode = "auto", .order = {"docker", "bubblewrap"}};
  in.candidates = {Make("docker-"), Make("bubblewrap-")};
  const Selection s = Select(in);
  EXPECT_EQ(s.error.hint, "start docker");
  EXPECT_TRUE(s.error.retryable);
}

TEST(Selection, AUserWhoseBackendIsGoneIsToldOfTheWayOut) {
  for (const char* candidate : {"docker-", "docker!", "docker?", "incus"}) {
    SelectionInput in{.mode = "auto", .order = {"docker", "incus"}, .candidates = {Make(candidate)}};
    in.pinned = "docker";
    const Selection s = Select(in);
    EXPECT_NE(s.error.message.find("the user's files are on backend docker"), std::string::npos);
    EXPECT_NE(s.error.hint.find("clara-sandbox move USER --to BACKEND"), std::string::npos) << s.error.hint;
    in.pinned.reset();
    in.mode = "docker";
    EXPECT_EQ(Select(in).error.hint.find("move"), std::string::npos) << "nobody's files are there";
  }
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
  EXPECT_EQ(p.network_none, std::nullopt);
}

TEST(Probe, ReadsWhetherThereIsANetwork) {
  const auto of = [](const std::string& network) {
    return ParseProbe(R"({"available":true,"enforces":{"network":)" + network + "}}").network_none;
  };
  EXPECT_EQ(of(R"({"enforced":true,"value":"none"})"), true);
  EXPECT_EQ(of(R"({"enforced":true,"value":"bridge"})"), false);
  EXPECT_EQ(of(R"({"enforced":false,"value":"none"})"), false);
  EXPECT_EQ(of(R"({"enforced":true})"), false);
  EXPECT_EQ(of(R"("none")"), std::nullopt);
}

TEST(Probe, AnythingElseIsNotAvailable) {
  for (const char* text : {"", "[]", "{", "\"yes\"", R"({"available":"yes"})", R"({"available":1})", "\xff"})
    EXPECT_FALSE(ParseProbe(text).available) << text;
  EXPECT_EQ(ParseProbe("{}").reason, "its probe's result does not say whether it is available");
}

}  // namespace
}  // namespace csb::host

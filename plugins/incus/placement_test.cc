// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace csb::incus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kSeeds = 200;

Candidate Member(const std::string& name, uint64_t sandboxes = 0) {
  Candidate m;
  m.name = name;
  m.online = true;
  m.groups = {"default"};
  m.architecture = "x86_64";
  m.sandboxes = sandboxes;
  m.memory_total = 64 * kGiB;
  m.memory_free = 48 * kGiB;
  m.cpus = 16;
  return m;
}

template <typename F>
Candidate With(Candidate m, F&& change) {
  change(m);
  return m;
}

// Every member that some seed leads to.
std::set<std::string> Possible(const std::vector<Candidate>& members, const PlacementRule& rule = {}) {
  std::set<std::string> found;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto member = Place(members, rule, seed);
    found.insert(member ? *member : "error: " + member.error().message);
  }
  return found;
}

struct Row {
  const char* what;
  std::vector<Candidate> members;
  PlacementRule rule;
  std::set<std::string> possible;
};

TEST(PlacementTest, TheMembersThatMayBeChosen) {
  const auto offline = [](Candidate& m) { m.online = false; };
  const auto evacuated = [](Candidate& m) { m.evacuated = true; };
  const auto silent = [](Candidate& m) { m.suspected = true; };
  const auto gpu = [](Candidate& m) { m.groups = {"default", "gpu"}; };
  const auto full = [](Candidate& m) { m.memory_free = kGiB; };
  const auto small = [](Candidate& m) { m.memory_total = 16 * kGiB, m.memory_free = 12 * kGiB, m.cpus = 4; };
  const auto unknown = [](Candidate& m) { m.memory_total = m.memory_free = m.cpus = 0; };
  const auto failing = [](Candidate& m) { m.failures = kFailing; };
  const auto loaded = [](Candidate& m) { m.load = 64; };
  const auto busy = [](Candidate& m) { m.creating = 1; };
  const PlacementRule two_gib{.memory = 2 * kGiB};
  const std::vector<Row> rows = {
      {"one", {Member("m1", 900)}, {}, {"m1"}},
      {"the emptiest", {Member("m1", 20), Member("m2", 9), Member("m3", 20)}, {}, {"m2"}},
      {"near ties are ties", {Member("m1", 10), Member("m2", 9), Member("m3", 8)}, {}, {"m1", "m2", "m3"}},
      {"near, in proportion", {Member("m1", 104), Member("m2", 100), Member("m3", 150)}, {}, {"m1", "m2"}},
      {"not offline", {With(Member("m1"), offline), Member("m2", 50)}, {}, {"m2"}},
      {"not evacuated", {With(Member("m1"), evacuated), Member("m2", 50)}, {}, {"m2"}},
      {"not silent", {With(Member("m1"), silent), Member("m2", 50)}, {}, {"m2"}},
      {"in the group", {Member("m1"), With(Member("m2", 50), gpu)}, {.group = "@gpu"}, {"m2"}},
      {"a group without its sign", {Member("m1"), With(Member("m2", 50), gpu)}, {.group = "gpu"}, {"m2"}},
      {"of the architecture",
       {Member("m1"), With(Member("m2", 9), [](Candidate& m) { m.architecture = "aarch64"; })},
       {.architecture = "aarch64"},
       {"m2"}},
      {"short of memory comes last", {With(Member("m1"), full), Member("m2", 90)}, two_gib, {"m2"}},
      {"short of memory is better than none", {With(Member("m1"), full)}, two_gib, {"m1"}},
      {"creates under way take memory",
       {With(Member("m1"), [](Candidate& m) { m.memory_free = 3 * kGiB, m.creating = 1; }), Member("m2", 90)},
       two_gib,
       {"m2"}},
      {"without a limit memory is not asked", {With(Member("m1"), full), Member("m2", 90)}, {}, {"m1"}},
      {"failing comes last", {With(Member("m1"), failing), Member("m2", 90)}, {}, {"m2"}},
      {"all failing", {With(Member("m1"), failing), With(Member("m2"), failing)}, {}, {"m1", "m2"}},
      {"failing, but with memory", {With(Member("m1"), failing), With(Member("m2"), full)}, two_gib, {"m1"}},
      {"a small one fills sooner", {With(Member("m1", 10), small), Member("m2", 20)}, {}, {"m2"}},
      {"a large one takes more", {With(Member("m1", 4), small), Member("m2", 40)}, {}, {"m1"}},
      {"what is not known counts as average", {With(Member("m1", 5), unknown), Member("m2", 20)}, {}, {"m1"}},
      {"busy with other things", {With(Member("m1", 10), loaded), Member("m2", 20)}, {}, {"m2"}},
      {"creates of ours under way", {With(Member("m1"), busy), Member("m2"), Member("m3")}, {}, {"m2", "m3"}},
      {"where the files are", {Member("m1"), Member("m2", 900)}, {.member = "m2"}, {"m2"}},
      {"files before group",
       {With(Member("m1"), gpu), Member("m2")},
       {.group = "@gpu", .member = "m2"},
       {"m2"}},
      {"files before memory",
       {Member("m1"), With(Member("m2"), full)},
       {.member = "m2", .memory = 2 * kGiB},
       {"m2"}},
  };
  for (const Row& row : rows) EXPECT_EQ(Possible(row.members, row.rule), row.possible) << row.what;
}

TEST(PlacementTest, ErrorsNameTheMembersAndWhatToDo) {
  const std::vector<Candidate> members = {
      With(Member("m1"), [](Candidate& m) { m.online = false; }),
      With(Member("m2"), [](Candidate& m) { m.online = false, m.evacuated = true; }),
      With(Member("m3"), [](Candidate& m) { m.suspected = true; })};
  const auto none = Place(members, {}, 1);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, CSB_E_UNAVAILABLE);
  EXPECT_TRUE(none.error().retryable);
  EXPECT_THAT(none.error().message, HasSubstr("m1 (offline), m2 (evacuated), m3 (silent)"));
  EXPECT_THAT(none.error().hint, HasSubstr("incus cluster list"));

  const auto fixed = Place(members, {.member = "m2"}, 1);
  ASSERT_FALSE(fixed);
  EXPECT_EQ(fixed.error().code, CSB_E_UNAVAILABLE);
  EXPECT_TRUE(fixed.error().retryable);
  EXPECT_THAT(fixed.error().message, HasSubstr("member m2 of the cluster, which is evacuated"));
  EXPECT_THAT(fixed.error().hint, HasSubstr("incus cluster restore"));

  const auto gone = Place(members, {.member = "m9"}, 1);
  ASSERT_FALSE(gone);
  EXPECT_FALSE(gone.error().retryable);
  EXPECT_THAT(gone.error().message, HasSubstr("m9"));

  const auto group = Place(members, {.group = "@gpu"}, 1);
  ASSERT_FALSE(group);
  EXPECT_EQ(group.error().code, CSB_E_INVALID);
  EXPECT_THAT(group.error().message, HasSubstr("group gpu"));

  const auto other = Place(members, {.architecture = "riscv64"}, 1);
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("riscv64"));
  EXPECT_THAT(other.error().message, HasSubstr("m1"));

  const auto empty = Place({}, {}, 1);
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().code, CSB_E_UNAVAILABLE);
}

TEST(PlacementTest, AnErrorOfAHugeClusterStaysShort) {
  std::vector<Candidate> members;
  for (int i = 0; i < 1000; ++i)
    members.push_back(With(Member("m" + std::to_string(i)), [](Candidate& m) { m.online = false; }));
  const auto none = Place(members, {}, 1);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("and 995 more"));
  EXPECT_LT(none.error().message.size(), 200u);
}

TEST(PlacementTest, NumbersThatMakeNoSenseDoNoHarm) {
  const auto odd = With(Member("m1"), [](Candidate& m) {
    m.sandboxes = m.creating = m.failures = UINT64_MAX;
    m.memory_total = 1, m.memory_free = UINT64_MAX;
    m.load = std::numeric_limits<double>::quiet_NaN();
    m.cpus = UINT64_MAX;
  });
  EXPECT_EQ(Possible({odd}, {.memory = UINT64_MAX}), std::set<std::string>{"m1"});
  EXPECT_EQ(Possible({odd, Member("m2")}, {.memory = kGiB}), std::set<std::string>{"m2"});
}

TEST(PlacementTest, ASeedReproducesAPlacement) {
  std::vector<Candidate> members;
  for (int i = 0; i < 20; ++i) members.push_back(Member("m" + std::to_string(i)));
  for (uint64_t seed = 0; seed < kSeeds; ++seed)
    EXPECT_EQ(*Place(members, {}, seed), *Place(members, {}, seed));
  EXPECT_EQ(Possible(members).size(), 20u) << "and chance leaves none out";
}

// What one host sees: the cluster as it was, and its own creates under way.
std::map<std::string, uint64_t> PlaceAll(const std::vector<Candidate>& members, int hosts, int creates,
                                         uint64_t seed) {
  std::vector<std::vector<Candidate>> views(static_cast<size_t>(hosts), members);
  std::map<std::string, uint64_t> placed;
  for (const Candidate& m : members) placed[m.name] = m.sandboxes;
  for (int i = 0; i < creates; ++i) {
    auto& view = views[static_cast<size_t>(i % hosts)];
    const auto member = Place(view, {.memory = kGiB}, seed * 1000 + static_cast<uint64_t>(i));
    if (!member) {
      ADD_FAILURE() << member.error().message;
      break;
    }
    ++placed[*member];
    for (Candidate& m : view) m.creating += m.name == *member ? 1 : 0;
  }
  return placed;
}

std::pair<uint64_t, uint64_t> Range(const std::map<std::string, uint64_t>& placed) {
  std::pair<uint64_t, uint64_t> range{UINT64_MAX, 0};
  for (const auto& [name, count] : placed)
    range = {std::min(range.first, count), std::max(range.second, count)};
  return range;
}

TEST(PlacementTest, ParallelCreatesOfHostsThatDoNotSeeEachOtherSpread) {
  const std::vector<Candidate> members = {Member("m1", 3), Member("m2", 3), Member("m3", 3)};
  for (int hosts = 1; hosts <= 8; ++hosts)
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const auto [least, most] = Range(PlaceAll(members, hosts, 24, seed));
      EXPECT_LE(most, 2 * least) << hosts << " hosts, seed " << seed;
      if (24 % (hosts * 3) == 0) {
        EXPECT_EQ(most, least) << hosts << " hosts, seed " << seed;
      }
    }
}

// One create each: nothing but chance keeps them apart. 24 on 3: a mean of 8, a deviation of 2.3.
TEST(PlacementTest, OneCreateOfEachOfManyHostsDoesNotPileUp) {
  const std::vector<Candidate> members = {Member("m1"), Member("m2"), Member("m3")};
  uint64_t worst = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed)
    worst = std::max(worst, Range(PlaceAll(members, 24, 24, seed)).second);
  EXPECT_LE(worst, 18u);
}

// All see the same gap: it is not filled by everybody at once.
TEST(PlacementTest, HostsDoNotAllFillTheSameGap) {
  const std::vector<Candidate> members = {Member("m1", 8), Member("m2", 12), Member("m3", 12)};
  uint64_t sum = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const uint64_t got = PlaceAll(members, 24, 24, seed).at("m1") - 8;
    EXPECT_LE(got, 22u) << seed;
    sum += got;
  }
  EXPECT_GE(sum, 10 * kSeeds) << "it does get more than its share, 8";
}

TEST(PlacementTest, AnEmptyMemberOfALargeClusterIsNotFlooded) {
  std::vector<Candidate> members = {Member("fresh")};
  for (int i = 0; i < 99; ++i) members.push_back(Member("m" + std::to_string(i), 100));
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const uint64_t got = PlaceAll(members, 200, 200, seed).at("fresh");
    EXPECT_GE(got, 3u) << "it does fill faster than the others";
    EXPECT_LE(got, 40u) << "of 200 creates at once";
  }
}

// Whatever the members are like: only usable ones, and an error only when there is none.
TEST(PlacementTest, NeverAMemberThatIsDown) {
  uint64_t state = 7;
  const auto below = [&](uint64_t n) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return (state >> 33) % n;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<Candidate> members;
    const uint64_t count = 1 + below(12);
    for (uint64_t i = 0; i < count; ++i)
      members.push_back(With(Member("m" + std::to_string(i), below(200)), [&](Candidate& m) {
        m.online = below(3) != 0;
        m.evacuated = below(4) == 0;
        m.suspected = below(4) == 0;
        if (below(2) == 0) m.groups.push_back("gpu");
        m.memory_free = below(4) * kGiB;
        m.failures = below(5);
        m.load = static_cast<double>(below(40));
      }));
    const PlacementRule rule{.group = below(2) == 0 ? "@gpu" : "", .memory = kGiB};
    std::set<std::string> usable;
    for (const Candidate& m : members)
      if (m.online && !m.evacuated && !m.suspected && (rule.group.empty() || m.groups.back() == "gpu"))
        usable.insert(m.name);
    const auto member = Place(members, rule, state);
    ASSERT_EQ(member.ok(), !usable.empty()) << round;
    if (!member) continue;
    ASSERT_TRUE(usable.contains(*member)) << round;
  }
}

// Sandboxes come and go for long: the members stay even, by what is left to chance.
TEST(PlacementTest, AnEvenClusterStaysEven) {
  std::vector<Candidate> members;
  for (int i = 0; i < 10; ++i) members.push_back(Member("m" + std::to_string(i), 20));
  uint64_t state = 1;
  for (int i = 0; i < 20'000; ++i) {
    const auto member = Place(members, {}, static_cast<uint64_t>(i));
    ASSERT_TRUE(member);
    for (Candidate& m : members) m.sandboxes += m.name == *member ? 1 : 0;
    for (;;) {
      state = state * 6364136223846793005 + 1442695040888963407;
      Candidate& m = members[(state >> 33) % members.size()];
      if (m.sandboxes == 0) continue;
      --m.sandboxes;
      break;
    }
  }
  std::map<std::string, uint64_t> counts;
  for (const Candidate& m : members) counts[m.name] = m.sandboxes;
  EXPECT_LE(Range(counts).second, 26u);
  EXPECT_GE(Range(counts).first, 14u);
}

}  // namespace
}  // namespace csb::incus

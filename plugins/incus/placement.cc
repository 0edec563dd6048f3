// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/placement.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace csb::incus {
namespace {

using Chosen = std::vector<const Candidate*>;

// Numbers that are the same on every machine and library, so that a seed reproduces a placement.
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) {}
  // Below n, which is not 0.
  size_t Below(size_t n) {
    uint64_t x = state_ += 0x9E3779B97F4A7C15;  // splitmix64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return (x ^ (x >> 31)) % n;
  }

 private:
  uint64_t state_;
};

// "m2 (offline), m5 (evacuated), and 7 more".
std::string Named(const Chosen& members) {
  constexpr size_t kNamed = 5;
  std::string text;
  for (size_t i = 0; i < std::min(kNamed, members.size()); ++i) {
    text += (i > 0 ? ", " : "") + members[i]->name;
    if (const char* why = Unusable(*members[i])) text += std::string(" (") + why + ")";
  }
  if (members.size() > kNamed) text += ", and " + std::to_string(members.size() - kNamed) + " more";
  return text;
}

const char* HintOf(const Candidate& member) {
  const char* why = Unusable(member);
  return why != nullptr && std::strcmp(why, "evacuated") == 0
             ? "incus cluster restore MEMBER brings it back"
             : "incus cluster list; it is tried again every few seconds";
}

bool InGroup(const Candidate& member, const std::string& group) {
  return std::find(member.groups.begin(), member.groups.end(), group) != member.groups.end();
}

// The member that has the user's files; its group is not asked: files decide.
Result<std::string> Fixed(const std::vector<Candidate>& members, const PlacementRule& rule) {
  for (const Candidate& m : members) {
    if (m.name != rule.member) continue;
    const char* why = Unusable(m);
    if (why == nullptr) return m.name;
    return Error{CSB_E_UNAVAILABLE,
                 "the user's files are on member " + m.name + " of the cluster, which is " + why, HintOf(m),
                 true};
  }
  return Error{CSB_E_UNAVAILABLE,
               "the user's files are on member " + rule.member + ", which the cluster does not have any more",
               "incus cluster list; a member that was removed by force took its volumes along", false};
}

// Those of the group and architecture, whatever their state.
Result<Chosen> Suitable(const std::vector<Candidate>& members, const PlacementRule& rule) {
  const std::string group = rule.group.substr(rule.group.starts_with('@') ? 1 : 0);
  Chosen in_group, all;
  for (const Candidate& m : members)
    if (group.empty() || InGroup(m, group)) in_group.push_back(&m);
  if (in_group.empty())
    return group.empty()
               ? Error{CSB_E_UNAVAILABLE, "the cluster names no members", "incus cluster list", true}
               : Error{CSB_E_INVALID, "no member of the cluster is in the group " + group,
                       "incus cluster group list; incus cluster group add MEMBER " + group, false};
  for (const Candidate* m : in_group)
    if (rule.architecture.empty() || m->architecture == rule.architecture) all.push_back(m);
  if (all.empty())
    return Error{CSB_E_INVALID,
                 "the image is for " + rule.architecture + ", which no member has: " + Named(in_group),
                 "use an image for the members' processors", false};
  return all;
}

// Its creates under way will take memory too, each as much as this one for all that is known.
bool HasMemory(const Candidate& m, uint64_t wanted) {
  if (m.memory_total == 0 || wanted == 0) return true;
  return m.memory_free / wanted > m.creating;
}

// The better, the lower.
int Tier(const Candidate& m, uint64_t memory) {
  return (HasMemory(m, memory) ? 0 : 2) + (m.failures >= kFailing ? 1 : 0);
}

// What a member can hold, as a multiple of the average; the scarcer of memory and processors counts.
class Sizes {
 public:
  explicit Sizes(const Chosen& members) {
    for (const Candidate* m : members) {
      Add(memory_, static_cast<double>(m->memory_total));
      Add(cpus_, static_cast<double>(m->cpus));
    }
  }
  double Of(const Candidate& m) const {
    const double size = std::min(Share(memory_, static_cast<double>(m.memory_total)),
                                 Share(cpus_, static_cast<double>(m.cpus)));
    return std::max(size, 0.01);
  }

 private:
  struct Mean {
    double sum = 0, count = 0;
  };
  static void Add(Mean& mean, double value) {
    if (value > 0) mean.sum += value, ++mean.count;
  }
  static double Share(const Mean& mean, double value) {
    return value > 0 ? value * mean.count / mean.sum : 1;
  }
  Mean memory_, cpus_;
};

// How full it would be with one more: sandboxes for its size, more where others keep it busy or creates fail.
double Cost(const Candidate& m, const Sizes& sizes) {
  double cost = static_cast<double>(m.sandboxes) + static_cast<double>(m.creating) + 1;
  cost /= sizes.Of(m);
  if (m.cpus > 0 && std::isfinite(m.load)) cost *= std::clamp(m.load / static_cast<double>(m.cpus), 1.0, 4.0);
  return cost * static_cast<double>(uint64_t{1} << std::min<uint64_t>(m.failures, kFailing));
}

// Differences below this are less than what other hosts may be doing at the moment. How wide it is is left to
// chance: hosts that all drew the same line would all fill the same gap, and overfill it.
double Slack(double least, Chance& chance) {
  return std::max(2.0, least * 0.1) * static_cast<double>(1 << chance.Below(3));
}

void Draw(Chosen& members, Chance& chance) {
  for (size_t i = 0; i < std::min(kCompared, members.size()); ++i)
    std::swap(members[i], members[i + chance.Below(members.size() - i)]);
  if (members.size() > kCompared) members.resize(kCompared);
}

}  // namespace

const char* Unusable(const Candidate& m) {
  if (!m.online) return m.evacuated ? "evacuated" : "offline";
  if (m.suspected) return "silent";
  return m.evacuated ? "evacuated" : nullptr;
}

Result<std::string> Place(const std::vector<Candidate>& members, const PlacementRule& rule, uint64_t seed) {
  if (!rule.member.empty()) return Fixed(members, rule);
  auto suitable = Suitable(members, rule);
  if (!suitable) return suitable.error();

  Chosen usable;
  for (const Candidate* m : *suitable)
    if (Unusable(*m) == nullptr) usable.push_back(m);
  if (usable.empty())
    return Error{CSB_E_UNAVAILABLE, "no member of the cluster can take a sandbox: " + Named(*suitable),
                 HintOf(*suitable->front()), true};

  int best = 3;
  for (const Candidate* m : usable) best = std::min(best, Tier(*m, rule.memory));
  std::erase_if(usable, [&](const Candidate* m) { return Tier(*m, rule.memory) > best; });

  Chance chance(seed);
  const Sizes sizes(usable);
  Draw(usable, chance);
  double least = Cost(*usable.front(), sizes);
  for (const Candidate* m : usable) least = std::min(least, Cost(*m, sizes));
  const double most = least + Slack(least, chance);
  std::erase_if(usable, [&](const Candidate* m) { return Cost(*m, sizes) > most; });

  // Of its own creates a host knows: these are spread exactly, however many come at once.
  const auto busy = [&](const Candidate* m) { return static_cast<double>(m->creating) / sizes.Of(*m); };
  double fewest = std::numeric_limits<double>::infinity();
  for (const Candidate* m : usable) fewest = std::min(fewest, busy(m));
  std::erase_if(usable, [&](const Candidate* m) { return busy(m) > fewest; });
  return usable[chance.Below(usable.size())]->name;
}

}  // namespace csb::incus

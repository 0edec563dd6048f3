// SPDX-License-Identifier: Apache-2.0
//
// scale_model.cc: what a cluster larger than any test machine would do: clara-sandbox-scale-model [--seed N]
//
// A model, not a measurement: a queue for each host's and each member's processors and one for the cluster's
// database, which writes one after the other; requests come at random (Poisson) and cost what was measured on
// a small machine (Costs, each with its source). Members are chosen by the backend's own Place. What is not
// in it: disks, networks that are slow or lossy, heartbeats, what users' programs do. docs/scale.md has its
// table.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "plugins/incus/placement.h"

namespace csb::bench {
namespace {

using incus::Candidate;
using incus::Place;

// Milliseconds. Measured with Incus 6.0.4 on two cores, the cluster of three members on the same two.
struct Costs {
  double host_request = 0.3;      // processor time of the host for one call
  double shell_on_member = 0.5;   // agent and fork of `true`
  double execute_on_member = 3;   // assumed: a forked interpreter that prints
  double wire_local = 0.1;        // shell over a socket: 0.9 in all
  double wire_cluster = 0.7;      // shell over a websocket through another member: 1.5 in all
  double commit = 3.4;            // one write of the database, as a record's create has it
  int create_commits = 9;         // counted in the leader's log: instance, volume, operation, state
  int destroy_commits = 7;        // likewise: stop and delete
  int first_commits = 3;          // of a user who is new: the record, the volume, the record again
  int record_commits = 1;         // a change of the record
  double create_on_member = 145;  // processor time of the engine that creates and starts
  double create_on_entry = 50;    // of the one that was asked, when it is another
  double open_channel = 80;       // an exec session through another member
  double read_record = 1.8;
};

struct Shape {
  int members = 3, hosts = 1;
  double member_cores = 16, host_cores = 4;
};

// c servers, first come first served. Use must be called in the order of time.
class Station {
 public:
  explicit Station(int servers) : free_(static_cast<size_t>(servers), 0) {}
  double Use(double now, double work) {
    const auto next = std::min_element(free_.begin(), free_.end());
    *next = std::max(now, *next) + work;
    busy_ += work;
    return *next;
  }
  double Busy(double span) const { return busy_ / (span * static_cast<double>(free_.size())); }

 private:
  std::vector<double> free_;
  double busy_ = 0;
};

class Simulation {
 public:
  Simulation(const Shape& shape, const Costs& costs, uint64_t seed)
      : shape_(shape), costs_(costs), random_(seed), database_(1) {
    for (int i = 0; i < shape.hosts; ++i)
      hosts_.push_back(Host{Station(static_cast<int>(shape.host_cores)), {}});
    for (int i = 0; i < shape.members; ++i) {
      members_.emplace_back(static_cast<int>(shape.member_cores));
      Candidate c;
      c.name = std::to_string(i);
      c.online = true;
      view_.push_back(std::move(c));
    }
    for (Host& host : hosts_) host.creating.resize(view_.size());
  }

  // Calls fn(now) at random moments, `rate` a second, for `span` ms.
  void Arrive(double rate, double span, const std::function<void(double)>& fn) {
    std::exponential_distribution<double> gap(rate / 1000);
    for (double t = gap(random_); t < span; t += gap(random_)) At(t, fn);
  }
  void At(double when, std::function<void(double)> fn) { events_.push({when, next_++, std::move(fn)}); }
  void Run() {
    while (!events_.empty()) {
      auto event = events_.top();
      events_.pop();
      event.fn(event.when);
    }
  }

  void Call(double now, double on_member, Samples* samples) {
    const size_t host = Pick(hosts_.size()), member = Pick(members_.size());
    const double wire = members_.size() > 1 ? costs_.wire_cluster : costs_.wire_local;
    At(hosts_[host].cpu.Use(now, costs_.host_request) + wire, [=, this](double t) {
      At(members_[member].Use(t, on_member), [=](double end) { samples->Add(end - now); });
    });
  }
  void Create(double now, Samples* samples) {
    const size_t host = Pick(hosts_.size());
    At(hosts_[host].cpu.Use(now, costs_.host_request), [=, this](double t) {
      Commit(t, costs_.first_commits, [=, this](double recorded) { Make(recorded, now, host, samples); });
    });
  }
  void Destroy(double now) {
    Commit(now, costs_.destroy_commits + costs_.record_commits, [](double) {});
  }

  double DatabaseBusy(double span) const { return database_.Busy(span); }
  double HostBusy(double span) const {
    double most = 0;
    for (const Host& host : hosts_) most = std::max(most, host.cpu.Busy(span));
    return most;
  }
  // Sandboxes by member; what is under way included.
  std::vector<double> Placed() const {
    std::vector<double> out;
    for (const Candidate& c : view_) out.push_back(static_cast<double>(c.sandboxes));
    return out;
  }

 private:
  struct Host {
    Station cpu;
    std::vector<uint64_t> creating;  // by member
  };
  struct Event {
    double when;
    uint64_t order;
    std::function<void(double)> fn;
    bool operator<(const Event& other) const {
      return when != other.when ? when > other.when : order > other.order;
    }
  };

  size_t Pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  void Commit(double now, int count, std::function<void(double)> then) {
    if (count == 0) return then(now);
    At(database_.Use(now, costs_.commit),
       [=, this, then = std::move(then)](double t) { Commit(t, count - 1, then); });
  }
  // The engine works and writes by turns.
  void Work(double now, size_t member, int turns, double each, std::function<void(double)> then) {
    if (turns == 0) return then(now);
    At(members_[member].Use(now, each), [=, this, then = std::move(then)](double worked) {
      Commit(worked, 1, [=, this](double t) { Work(t, member, turns - 1, each, then); });
    });
  }
  // A host sees what exists, and of what is under way its own.
  void Make(double now, double start, size_t host, Samples* samples) {
    std::vector<Candidate> seen = view_;
    for (size_t i = 0; i < seen.size(); ++i) seen[i].creating = hosts_[host].creating[i];
    const auto chosen = Place(seen, {}, random_());
    if (!chosen) return;  // all members are online: it always finds one
    const size_t member = std::stoul(*chosen);
    ++hosts_[host].creating[member];
    const size_t entry = Pick(members_.size());
    const double asked = entry == member ? now : members_[entry].Use(now, costs_.create_on_entry);
    At(asked, [=, this](double t) {
      Work(t, member, costs_.create_commits, costs_.create_on_member / costs_.create_commits,
           [=, this](double made) {
             --hosts_[host].creating[member];
             ++view_[member].sandboxes;
             samples->Add(made + costs_.open_channel - start);
           });
    });
  }

  const Shape shape_;
  const Costs costs_;
  std::mt19937_64 random_;
  Station database_;
  std::vector<Host> hosts_;
  std::vector<Station> members_;
  std::vector<Candidate> view_;
  std::priority_queue<Event> events_;
  uint64_t next_ = 0;
};

constexpr double kMinute = 60'000;

void Creates(const Costs& costs, uint64_t seed) {
  printf("\nCreates, four hosts, each sandbox destroyed again; p50 / p99 in ms (database busy):\n\n");
  const std::vector<double> rates = {1, 5, 10, 13, 14, 20};
  printf("| members |");
  for (const double rate : rates) printf(" %g/s |", rate);
  printf("\n|---|");
  for (size_t i = 0; i < rates.size(); ++i) printf("---|");
  printf("\n");
  for (const int members : {1, 3, 10, 50, 200, 1000}) {
    printf("| %d |", members);
    for (const double rate : rates) {
      Simulation sim({.members = members, .hosts = 4}, costs, seed);
      Samples samples;
      sim.Arrive(rate, kMinute, [&](double now) { sim.Create(now, &samples); });
      sim.Arrive(rate, kMinute, [&](double now) { sim.Destroy(now); });
      sim.Run();
      printf(" %.0f / %.0f (%.0f%%) |", samples.Median(), samples.P99(), 100 * sim.DatabaseBusy(kMinute));
    }
    printf("\n");
  }
}

void Calls(const Costs& costs, uint64_t seed) {
  printf(
      "\nCalls on live sandboxes, four cores a host, a tenth of them execute; p50 / p99 in ms:\n\n"
      "| hosts | members | calls/s | shell | execute | busiest host |\n|---|---|---|---|---|---|\n");
  constexpr double kSpan = 5'000;
  struct Row {
    int hosts, members;
    double rate;
  };
  for (const Row& row :
       {Row{1, 1, 1000}, Row{1, 3, 1000}, Row{1, 3, 10'000}, Row{1, 3, 12'500}, Row{4, 50, 10'000},
        Row{4, 50, 40'000}, Row{8, 200, 80'000}, Row{32, 1000, 300'000}}) {
    Simulation sim({.members = row.members, .hosts = row.hosts}, costs, seed);
    Samples shell, execute;
    sim.Arrive(row.rate * 0.9, kSpan, [&](double now) { sim.Call(now, costs.shell_on_member, &shell); });
    sim.Arrive(row.rate * 0.1, kSpan, [&](double now) { sim.Call(now, costs.execute_on_member, &execute); });
    sim.Run();
    printf("| %d | %d | %.0f | %.1f / %.1f | %.1f / %.1f | %.0f%% |\n", row.hosts, row.members, row.rate,
           shell.Median(), shell.P99(), execute.Median(), execute.P99(), 100 * sim.HostBusy(kSpan));
  }
}

// What hosts choose that see the same list, and of each other nothing until it is read again.
struct Spread {
  double most_over_mean = 0;
  double most_in_burst = 0;
};
template <typename F>
Spread Bursts(int members, int hosts, int burst, uint64_t seed, F&& choose) {
  std::vector<Candidate> truth(static_cast<size_t>(members));
  for (size_t i = 0; i < truth.size(); ++i) truth[i].name = std::to_string(i), truth[i].online = true;
  std::mt19937_64 random(seed);
  Spread out;
  const int bursts = std::max(20, 20 * members / burst);  // 20 sandboxes a member, at least
  for (int b = 0; b < bursts; ++b) {
    std::vector<std::vector<Candidate>> views(static_cast<size_t>(hosts), truth);
    std::vector<double> got(truth.size());
    for (int i = 0; i < burst; ++i) {
      auto& view = views[static_cast<size_t>(i % hosts)];
      const size_t member = choose(view, random);
      ++view[member].creating;
      ++truth[member].sandboxes;
      out.most_in_burst = std::max(out.most_in_burst, ++got[member]);
    }
  }
  double most = 0;
  for (const Candidate& c : truth) most = std::max(most, static_cast<double>(c.sandboxes));
  out.most_over_mean = most * members / (static_cast<double>(burst) * bursts);
  return out;
}

void Placements(uint64_t seed) {
  printf(
      "\nPlacement: fullest member over the mean at the end (most creates that one member got of one "
      "burst):\n\n"
      "| members | hosts | creates at once | ours | least loaded, first of equals | at random |\n"
      "|---|---|---|---|---|---|\n");
  const auto ours = [](const std::vector<Candidate>& view, std::mt19937_64& random) -> size_t {
    const auto member = Place(view, {}, random());
    return member ? std::stoul(*member) : 0;
  };
  const auto least = [](const std::vector<Candidate>& view, std::mt19937_64&) -> size_t {
    const auto full = [](const Candidate& c) { return c.sandboxes + c.creating; };
    const auto it = std::min_element(view.begin(), view.end(),
                                     [&](const auto& a, const auto& b) { return full(a) < full(b); });
    return static_cast<size_t>(it - view.begin());
  };
  const auto any = [](const std::vector<Candidate>& view, std::mt19937_64& random) -> size_t {
    return random() % view.size();
  };
  struct Row {
    int members, hosts, burst;
  };
  for (const Row& row : {Row{3, 1, 24}, Row{3, 4, 24}, Row{3, 8, 24}, Row{3, 24, 24}, Row{10, 8, 40},
                         Row{50, 8, 200}, Row{50, 32, 64}, Row{1000, 8, 200}, Row{1000, 32, 200}}) {
    printf("| %d | %d | %d |", row.members, row.hosts, row.burst);
    const auto cell = [](const Spread& s) { printf(" %.2f (%.0f) |", s.most_over_mean, s.most_in_burst); };
    cell(Bursts(row.members, row.hosts, row.burst, seed, ours));
    cell(Bursts(row.members, row.hosts, row.burst, seed, least));
    cell(Bursts(row.members, row.hosts, row.burst, seed, any));
    printf("\n");
  }
}

void Limits(const Costs& costs) {
  const int create = costs.create_commits + costs.first_commits;
  const int destroy = costs.destroy_commits + costs.record_commits;
  printf("\nWhere it ends, by these costs:\n\n| | |\n|---|---|\n");
  printf(
      "| database | %.0f writes/s: %.0f creates/s, or %.0f creates and destroys/s, whatever the number of "
      "members |\n",
      1000 / costs.commit, 1000 / costs.commit / create, 1000 / costs.commit / (create + destroy));
  printf("| a member's core | %.1f creates/s, or %.0f shells/s |\n", 1000 / costs.create_on_member,
         1000 / costs.shell_on_member);
  printf("| a host's core | %.0f calls/s |\n", 1000 / costs.host_request);
  printf("| a host's descriptors | 3 for each open sandbox: 1,048,576 are %d sandboxes |\n", 1'048'576 / 3);
  printf("| a member's memory | 64 GiB are 60 sandboxes of 1 GiB that use it all |\n");
  printf("| a call through a host without a channel | %.0f ms more, once |\n",
         costs.open_channel + costs.read_record);
}

}  // namespace
}  // namespace csb::bench

int main(int argc, char** argv) {
  uint64_t seed = 1;
  if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
    seed = strtoull(argv[2], nullptr, 10);
  } else if (argc != 1) {
    fprintf(stderr, "usage: clara-sandbox-scale-model [--seed N]\n");
    return 2;
  }
  const csb::bench::Costs costs;
  printf("Modelled, seed %llu.\n", static_cast<unsigned long long>(seed));
  csb::bench::Creates(costs, seed);
  csb::bench::Calls(costs, seed);
  csb::bench::Placements(seed);
  csb::bench::Limits(costs);
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// Series of the hot path stand in a flat array of atomic pointers by [operation][backend][status]
// and are made on first use; the registry's own locks are taken only then and when scraped.
#include "host/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <sstream>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"

namespace csb::host {
namespace {

using prometheus::Labels;

constexpr size_t kMaxBackends = 32;
constexpr size_t kStatuses = CSB_E_NO_SPACE + 2;  // the last: codes we do not know
constexpr size_t kOps = kOperations.size() + 1;   // the last: ids we do not know
constexpr size_t kMaxCounters = 64;
constexpr size_t kMaxLabelSets = 100;
constexpr char kOtherMembers[] = "other";
constexpr std::array<std::string_view, 7> kCauses = {"exit",      "signal", "deadline", "oom",
                                                     "cancelled", "gone",   "other"};

size_t OpIndex(uint32_t op) {
  for (size_t i = 0; i < kOperations.size(); ++i)
    if (kOperations[i].op == op) return i;
  return kOps - 1;
}

std::string OpLabel(size_t index) {
  return index < kOperations.size() ? std::string(kOperations[index].name) : "unknown";
}

bool ValidName(std::string_view name) {
  if (name.empty() || name.size() > 100 || (name[0] >= '0' && name[0] <= '9')) return false;
  for (char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
      return false;
  return name.substr(0, 2) != "__";
}

bool ValidMember(std::string_view name) {
  return name.size() <= 100 && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                  c == '_' || c == '.';
         });
}

prometheus::Histogram::BucketBoundaries Buckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};
}

}  // namespace

struct Metrics::Impl {
  struct Plugin {  // a counter that plugins made
    prometheus::Family<prometheus::Counter>* family = nullptr;
    std::map<std::string, prometheus::Counter*, std::less<>> series;  // by labels_json as it came
  };

  struct Live {  // sandboxes of a backend; "": those of no member
    std::map<std::string, prometheus::Gauge*, std::less<>> members;
  };

  prometheus::Registry registry;
  std::vector<std::string> backends;
  prometheus::Family<prometheus::Counter>* requests;
  prometheus::Family<prometheus::Histogram>* durations;
  std::vector<std::atomic<prometheus::Counter*>> request_series;
  std::vector<std::atomic<prometheus::Histogram*>> duration_series;
  std::mutex sandboxes_mutex;
  prometheus::Family<prometheus::Gauge>* sandboxes;
  std::vector<Live> live;  // by backend
  std::array<prometheus::Counter*, kCauses.size()> ends;
  prometheus::Counter* dropped;
  std::mutex plugins_mutex;
  std::map<std::string, Plugin, std::less<>> plugins;

  Impl(const std::vector<std::string>& names, std::string_view version)
      : backends(names),
        request_series(kOps * (kMaxBackends + 1) * kStatuses),
        duration_series(kOps * (kMaxBackends + 1)) {
    if (backends.size() > kMaxBackends) backends.resize(kMaxBackends);
    requests = &prometheus::BuildCounter()
                    .Name("csb_requests_total")
                    .Help("Operations that ended, by operation, backend and status")
                    .Register(registry);
    durations = &prometheus::BuildHistogram()
                     .Name("csb_request_duration_seconds")
                     .Help("Time from submit to the end of an operation")
                     .Register(registry);
    sandboxes = &prometheus::BuildGauge()
                     .Name("csb_sandboxes")
                     .Help("Sandboxes that are live now, by backend and, in a cluster, member")
                     .Register(registry);
    Plugin& reconnects = plugins["csb_channel_reconnects_total"];
    reconnects.family = &prometheus::BuildCounter()
                             .Name("csb_channel_reconnects_total")
                             .Help("Channels to a sandbox that were lost and made again")
                             .Register(registry);
    for (const auto& name : backends) {
      live.push_back({{{"", &sandboxes->Add({{"backend", name}})}}});
      reconnects.series[R"({"backend":")" + name + R"("})"] = &reconnects.family->Add({{"backend", name}});
    }
    auto& causes = prometheus::BuildCounter()
                       .Name("csb_ends_total")
                       .Help("How commands ended, by cause")
                       .Register(registry);
    for (size_t i = 0; i < kCauses.size(); ++i) ends[i] = &causes.Add({{"cause", std::string(kCauses[i])}});
    dropped = &prometheus::BuildCounter()
                   .Name("csb_metrics_dropped_total")
                   .Help("Counts of plugins that were not kept: a bad name, bad labels, or too many series")
                   .Register(registry)
                   .Add({});
    prometheus::BuildGauge()
        .Name("csb_build_info")
        .Help("1, with the version as a label")
        .Register(registry)
        .Add({{"version", std::string(version)}})
        .Set(1);
  }

  size_t Slot(int backend) const {
    return backend >= 0 && static_cast<size_t>(backend) < backends.size() ? static_cast<size_t>(backend) + 1
                                                                          : 0;
  }
  std::string BackendLabel(size_t slot) const { return slot == 0 ? "none" : backends[slot - 1]; }
};

Metrics::Metrics(const std::vector<std::string>& backends, std::string_view version)
    : impl_(std::make_unique<Impl>(backends, version)) {}
Metrics::~Metrics() = default;

void Metrics::Request(uint32_t op, int backend, csb_status status, double seconds) {
  Impl& m = *impl_;
  const size_t o = OpIndex(op);
  const size_t b = m.Slot(backend);
  const size_t s = status >= 0 && static_cast<size_t>(status) < kStatuses - 1 ? static_cast<size_t>(status)
                                                                              : kStatuses - 1;
  auto& counter = m.request_series[(o * (kMaxBackends + 1) + b) * kStatuses + s];
  auto& histogram = m.duration_series[o * (kMaxBackends + 1) + b];
  if (counter.load(std::memory_order_acquire) == nullptr)  // Add gives both of a race the same series
    counter.store(&m.requests->Add({{"operation", OpLabel(o)},
                                    {"backend", m.BackendLabel(b)},
                                    {"status", std::string(NameOfStatus(status))}}),
                  std::memory_order_release);
  if (histogram.load(std::memory_order_acquire) == nullptr)
    histogram.store(&m.durations->Add({{"operation", OpLabel(o)}, {"backend", m.BackendLabel(b)}}, Buckets()),
                    std::memory_order_release);
  counter.load(std::memory_order_acquire)->Increment();
  histogram.load(std::memory_order_acquire)->Observe(seconds);
}

void Metrics::Ended(std::string_view cause) {
  size_t i = 0;
  while (i + 1 < kCauses.size() && kCauses[i] != cause) ++i;
  impl_->ends[i]->Increment();
}

std::string Metrics::SandboxStarted(int backend, std::string_view member) {
  Impl& m = *impl_;
  const size_t slot = m.Slot(backend);
  if (slot == 0) return {};
  std::string label = ValidMember(member) ? std::string(member) : kOtherMembers;
  std::lock_guard lock(m.sandboxes_mutex);
  auto& members = m.live[slot - 1].members;
  if (members.find(label) == members.end() && members.size() > kMaxMembers) {
    // Members come and go over the years; only those that have sandboxes take a place.
    for (auto it = members.begin(); it != members.end();) {
      if (it->first.empty() || it->second->Value() > 0) {
        ++it;
      } else {
        m.sandboxes->Remove(it->second);
        it = members.erase(it);
      }
    }
    if (members.size() > kMaxMembers) label = kOtherMembers;
  }
  prometheus::Gauge*& gauge = members[label];
  if (gauge == nullptr) gauge = &m.sandboxes->Add({{"backend", m.BackendLabel(slot)}, {"member", label}});
  gauge->Increment();
  return label;
}

void Metrics::SandboxEnded(int backend, const std::string& counted) {
  Impl& m = *impl_;
  const size_t slot = m.Slot(backend);
  if (slot == 0) return;
  std::lock_guard lock(m.sandboxes_mutex);
  auto& members = m.live[slot - 1].members;
  if (const auto it = members.find(counted); it != members.end()) it->second->Decrement();
}

void Metrics::Count(std::string_view metric, std::string_view labels_json, double value) {
  Impl& m = *impl_;
  std::lock_guard lock(m.plugins_mutex);
  try {
    if (!(value >= 0) || value > 1e15 || !ValidName(metric)) return m.dropped->Increment();
    auto it = m.plugins.find(metric);
    if (it == m.plugins.end()) {
      if (m.plugins.size() >= kMaxCounters) return m.dropped->Increment();
      // Throws for a name that one of the host's own series of another type has.
      auto& family = prometheus::BuildCounter()
                         .Name(std::string(metric))
                         .Help("Counted by a plugin")
                         .Register(m.registry);
      // The host's own counters are not for plugins to write.
      if (&family == m.requests) return m.dropped->Increment();
      it = m.plugins.emplace(std::string(metric), Impl::Plugin{&family, {}}).first;
    }
    auto series = it->second.series.find(labels_json);
    if (series == it->second.series.end()) {
      Labels labels;
      auto doc = json::ParseObject(labels_json, 1);
      if (!doc || it->second.series.size() >= kMaxLabelSets) return m.dropped->Increment();
      for (const auto& member : std::as_const(*doc).GetObject()) {
        const std::string name(member.name.GetString(), member.name.GetStringLength());
        if (!ValidName(name) || !member.value.IsString() || member.value.GetStringLength() > 200)
          return m.dropped->Increment();
        labels[name] = std::string(member.value.GetString(), member.value.GetStringLength());
      }
      series = it->second.series.emplace(std::string(labels_json), &it->second.family->Add(labels)).first;
    }
    series->second->Increment(value);
  } catch (const std::exception&) {  // a name or label that the library refuses
    m.dropped->Increment();
  }
}

std::string Metrics::Text() const {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, impl_->registry.Collect());
  return out.str();
}

}  // namespace csb::host

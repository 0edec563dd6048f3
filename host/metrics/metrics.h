// SPDX-License-Identifier: Apache-2.0
//
// metrics.h: what is counted, as Prometheus text (exposition format 0.0.4).
//
//   Metrics metrics({"bubblewrap", "docker"}, "0.1.0");
//   metrics.Request(CSB_OP_SHELL, 0, CSB_OK, 0.0012);   // 0: index of the backend
//   std::string text = metrics.Text();
//
// Request and Ended are on the way of every operation: their series are made once and found by
// index. Label values are operations, backends, status codes, causes and a bounded number of a
// cluster's members; never users, so the number of series is bounded. Everything is thread-safe
// and does not throw.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/abi.h"

namespace csb::host {

class Metrics {
 public:
  // backends: names, in the order of the indexes below; at most 32.
  Metrics(const std::vector<std::string>& backends, std::string_view version);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // For operations that no backend had a part in.
  static constexpr int kNoBackend = -1;

  // csb_requests_total{operation,backend,status}, csb_request_duration_seconds{operation,backend}.
  void Request(uint32_t op, int backend, csb_status status, double seconds);
  // csb_ends_total{cause}: exit signal deadline oom cancelled gone; anything else is "other".
  void Ended(std::string_view cause);
  // csb_sandboxes{backend,member}: live now. member: of the backend's cluster, in the engine's words; empty:
  // there is none, and no such label. At most kMaxMembers of a backend; those that come when so many have
  // sandboxes, and what can't be a name, are counted together as "other". Returns what SandboxEnded takes.
  static constexpr size_t kMaxMembers = 256;
  std::string SandboxStarted(int backend, std::string_view member);
  void SandboxEnded(int backend, const std::string& counted);
  // A counter of a plugin, made at first use ("csb_channel_reconnects_total"). labels_json: a JSON
  // object of strings, or empty. A bad name, a bad label, or more than 64 counters or 100 label
  // sets each: dropped, and counted in csb_metrics_dropped_total.
  void Count(std::string_view metric, std::string_view labels_json, double value);

  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
//
// measure.h: samples and what the kernel says of processes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace csb::bench {

// Milliseconds.
class Samples {
 public:
  void Add(double ms) { values_.push_back(ms); }
  double Median() const { return Quantile(0.5); }
  double P99() const { return Quantile(0.99); }
  size_t Count() const { return values_.size(); }
  double Last() const { return values_.back(); }

 private:
  double Quantile(double q) const;
  std::vector<double> values_;
};

double NowMs();  // CLOCK_MONOTONIC

// Starts a program with /dev/null for its streams and waits for it; its exit code, -1 if it did not start.
int Spawn(const std::vector<std::string>& argv);
double SpawnMs(const std::vector<std::string>& argv);

double CpuSeconds(pid_t pid);  // user + system time of all threads
// Waits until a process has rested for half a second, 20 s at most: what it does after an answer is told by
// nothing else.
void WaitUntilIdle(pid_t pid);
double PssMiB(pid_t pid);      // /proc/PID/smaps_rollup
double PeakRssMiB(pid_t pid);  // VmHWM
double RssMiB(pid_t pid);      // VmRSS
void ResetPeakRss(pid_t pid);  // clear_refs 5
// Processes inside the sandboxes whose runtime folder has `folder` in its path, and bwrap's monitors of them.
std::vector<pid_t> SandboxProcesses(std::string_view folder);

}  // namespace csb::bench

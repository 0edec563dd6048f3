// SPDX-License-Identifier: Apache-2.0
//
// The two dialects differ in file names and in how a limit is written; everything else is the same.
#include "plugins/bubblewrap/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

constexpr uint64_t kPeriodUs = 100'000;
constexpr uint64_t kLeastQuotaUs = 1'000;  // the kernel's own bound

uint64_t QuotaUs(double cores) {
  return std::max<uint64_t>(kLeastQuotaUs, static_cast<uint64_t>(std::llround(cores * double(kPeriodUs))));
}

std::optional<uint64_t> ReadCount(const std::string& path) {
  const auto text = ReadSmallFile(path);
  return text ? ParseCount(*text) : std::nullopt;
}

// Version 1 writes "unlimited" as a huge number of whole pages.
std::optional<uint64_t> Limited(std::optional<uint64_t> value) {
  if (!value || *value >= (uint64_t{1} << 60)) return std::nullopt;
  return value;
}

Result<Controller> MakeGroup(const Controller& parent, std::string_view name) {
  if (!parent) return Controller{};
  std::string path = parent.path + "/" + std::string(name);
  const std::string base = path;
  for (int attempt = 1; attempt < 32; ++attempt) {
    rmdir(path.c_str());  // of an earlier sandbox; fails when it is in use, which mkdir then reports
    if (mkdir(path.c_str(), 0755) == 0) return Controller{path, parent.version};
    if (errno == ENOENT && attempt == 1) {
      FindCgroupParent(ReadCgroupView());  // another host process that ended took the empty parent with it
    } else if (errno == EEXIST) {
      path = base + "." + std::to_string(attempt);  // its last process is on its way out
    } else {
      break;
    }
  }
  return ErrnoError("mkdir", path);
}

Status LimitMemory(const Controller& group, uint64_t bytes) {
  if (!group || bytes == 0) return {};
  const std::string limit = std::to_string(bytes);
  if (group.version == 2) {
    if (Status s = WriteSmallFile(group.path + "/memory.max", limit); !s) return s;
    if (Exists(group.path + "/memory.swap.max")) return WriteSmallFile(group.path + "/memory.swap.max", "0");
    return {};
  }
  if (Status s = WriteSmallFile(group.path + "/memory.limit_in_bytes", limit); !s) return s;
  if (Exists(group.path + "/memory.memsw.limit_in_bytes"))
    return WriteSmallFile(group.path + "/memory.memsw.limit_in_bytes", limit);
  return {};
}

Status LimitCpu(const Controller& group, double cores) {
  if (!group || cores <= 0) return {};
  const std::string quota = std::to_string(QuotaUs(cores)), period = std::to_string(kPeriodUs);
  if (group.version == 2) return WriteSmallFile(group.path + "/cpu.max", quota + " " + period);
  if (Status s = WriteSmallFile(group.path + "/cpu.cfs_period_us", period); !s) return s;
  return WriteSmallFile(group.path + "/cpu.cfs_quota_us", quota);
}

Status LimitPids(const Controller& group, uint64_t pids) {
  if (!group || pids == 0) return {};
  return WriteSmallFile(group.path + "/pids.max", std::to_string(pids + kReservedPids));
}

bool RemoveGroup(const Controller& group) {
  return !group || rmdir(group.path.c_str()) == 0 || errno == ENOENT;
}

}  // namespace

Result<Cgroup> Cgroup::Make(const CgroupParent& parent, std::string_view name) {
  Cgroup group;
  Status status;
  // Version 2 has one folder for all; make it once.
  const auto make = [&](const Controller& from, Controller* to) {
    if (!status) return;
    for (const Controller* have : {&group.memory_, &group.cpu_, &group.cpuacct_, &group.pids_}) {
      if (*have && from && have->path.compare(0, from.path.size() + 1, from.path + "/") == 0) {
        *to = *have;
        return;
      }
    }
    auto made = MakeGroup(from, name);
    if (made)
      *to = *made;
    else
      status = made.error();
  };
  make(parent.memory, &group.memory_);
  make(parent.cpu, &group.cpu_);
  make(parent.cpuacct, &group.cpuacct_);
  make(parent.pids, &group.pids_);
  if (status) return group;
  group.Remove();
  return status.error();
}

Status Cgroup::SetLimits(const Limits& limits) const {
  Status status = LimitMemory(memory_, limits.memory);
  if (status) status = LimitCpu(cpu_, limits.cpu);
  if (status) status = LimitPids(pids_, limits.pids);
  if (status) return {};
  return Error{status.error().code, "limits of the sandbox: " + status.error().message,
               "the limits of a group above may be smaller", false};
}

void RemoveCgroupParent(const CgroupParent& parent) {
  for (const Controller* c : {&parent.memory, &parent.cpu, &parent.cpuacct, &parent.pids})
    if (*c) rmdir(c->path.c_str());  // fails while sandboxes are in it, as it should
}

std::vector<std::string> Cgroup::ProcsFiles() const {
  std::vector<std::string> files;
  for (const Controller* c : {&memory_, &cpu_, &cpuacct_, &pids_}) {
    if (!*c) continue;
    std::string file = c->path + "/cgroup.procs";
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(std::move(file));
  }
  return files;
}

Cgroup::Reading Cgroup::Read() const {
  Reading out;
  if (memory_.version == 2) {
    out.memory_limit = Limited(ReadCount(memory_.path + "/memory.max"));
    const auto swap = ReadCount(memory_.path + "/memory.swap.max");
    out.swap_excluded = !swap || *swap == 0;
  } else if (memory_) {
    out.memory_limit = Limited(ReadCount(memory_.path + "/memory.limit_in_bytes"));
    const auto both = ReadCount(memory_.path + "/memory.memsw.limit_in_bytes");
    out.swap_excluded = both && both == out.memory_limit;
  }
  if (cpu_.version == 2) {
    const auto text = ReadSmallFile(cpu_.path + "/cpu.max");
    uint64_t quota = 0, period = 0;
    if (text) {
      const char* const end = text->data() + text->size();
      const auto [next, error] = std::from_chars(text->data(), end, quota);
      if (error == std::errc() && next < end) std::from_chars(next + 1, end, period);
    }
    if (quota > 0 && period > 0) out.cpu_limit = double(quota) / double(period);
  } else if (cpu_) {
    const auto quota = ReadCount(cpu_.path + "/cpu.cfs_quota_us");
    const auto period = ReadCount(cpu_.path + "/cpu.cfs_period_us");
    if (quota && period && *period > 0) out.cpu_limit = double(*quota) / double(*period);
  }
  if (pids_) {
    out.pids_limit = ReadCount(pids_.path + "/pids.max");
    if (out.pids_limit == UINT64_MAX) out.pids_limit.reset();
  }
  return out;
}

uint64_t Cgroup::MemoryUsage() const {
  if (!memory_) return 0;
  return ReadCount(memory_.path + (memory_.version == 2 ? "/memory.current" : "/memory.usage_in_bytes"))
      .value_or(0);
}

std::optional<uint64_t> Cgroup::CpuTimeNs() const {
  if (!cpuacct_) return std::nullopt;
  if (cpuacct_.version == 1) return ReadCount(cpuacct_.path + "/cpuacct.usage");
  const auto text = ReadSmallFile(cpuacct_.path + "/cpu.stat");
  const auto us = text ? ParseKeyed(*text, "usage_usec") : std::nullopt;
  return us ? std::optional(*us * 1000) : std::nullopt;
}

std::string Cgroup::OomFile() const {
  if (!memory_) return {};
  return memory_.path + (memory_.version == 2 ? "/memory.events" : "/memory.oom_control");
}

std::vector<pid_t> Cgroup::Processes() const {
  std::vector<pid_t> pids;
  for (const std::string& file : ProcsFiles()) {
    const auto text = ReadSmallFile(file);
    std::istringstream words(text ? *text : "");
    for (pid_t pid; words >> pid;)
      if (std::find(pids.begin(), pids.end(), pid) == pids.end()) pids.push_back(pid);
  }
  return pids;
}

bool Cgroup::Remove() const {
  bool gone = true;
  for (const Controller* c : {&memory_, &cpu_, &cpuacct_, &pids_}) gone = RemoveGroup(*c) && gone;
  return gone;
}

void Cgroup::Write(json::Writer& w) const {
  w.StartObject();
  const std::pair<const char*, const Controller*> all[] = {
      {"memory", &memory_}, {"cpu", &cpu_}, {"cpuacct", &cpuacct_}, {"pids", &pids_}};
  for (const auto& [name, controller] : all) {
    if (!*controller) continue;
    json::Key(w, name);
    w.StartObject();
    json::Member(w, "path", controller->path);
    json::Member(w, "version", controller->version);
    w.EndObject();
  }
  w.EndObject();
}

Cgroup Cgroup::From(const json::Value& object) {
  Cgroup group;
  const auto take = [&](const char* name, Controller* to) {
    const json::Value* member = json::Find(object, name);
    if (member == nullptr) return;
    const auto path = json::GetString(*member, "path");
    const auto version = json::GetInt(*member, "version");
    if (path && version && (*version == 1 || *version == 2))
      *to = {std::string(*path), static_cast<int>(*version)};
  };
  take("memory", &group.memory_);
  take("cpu", &group.cpu_);
  take("cpuacct", &group.cpuacct_);
  take("pids", &group.pids_);
  return group;
}

}  // namespace csb::bwrap

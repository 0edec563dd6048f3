// SPDX-License-Identifier: Apache-2.0
#include "agent/report/report.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "agent/base/proc_file.h"
#include "agent/report/cgroup_limits.h"
#include "agent/report/machine.h"
#include "agent/setup/network.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::agent {
namespace {

template <typename T>
void Optional(json::Writer& w, std::string_view key, const std::optional<T>& value) {
  if (value) return json::Member(w, key, *value);
  json::Key(w, key);
  w.Null();
}

std::optional<int> Number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void Groups(json::Writer& w) {
  const CgroupLimits limits = ReadCgroupLimits();
  Optional(w, "memory_limit", limits.memory);
  Optional(w, "memory_swap_limit", limits.memory_swap);
  json::Member(w, "memory_by", limits.memory_by);
  Optional(w, "cpu_cores", limits.cpu_cores);
  json::Member(w, "cpu_by", limits.cpu_by);
  Optional(w, "pids_limit", limits.pids);
  json::Member(w, "pids_by", limits.pids_by);
}

void OwnMachine(json::Writer& w) {
  const Machine machine = ReadMachine();
  w.Key("machine");
  w.StartObject();
  Optional(w, "memory", machine.memory);
  Optional(w, "processors", machine.processors);
  json::Member(w, "kind", machine.kind);
  w.EndObject();
}

void Rights(json::Writer& w) {
  const std::string status = ReadSmallFile("/proc/self/status").value_or("");
  Optional(w, "seccomp", Number(StatusField(status, "Seccomp")));
  // One more with the agent's own: an engine's filter alone is no allowlist.
  Optional(w, "seccomp_filters", Number(StatusField(status, "Seccomp_filters")));
  Optional(w, "no_new_privs", Number(StatusField(status, "NoNewPrivs")));
  json::Member(w, "cap_effective", StatusField(status, "CapEff"));
  json::Member(w, "cap_bounding", StatusField(status, "CapBnd"));
  json::Member(w, "cap_init_effective", StatusField(ReadSmallFile("/proc/1/status").value_or(""), "CapEff"));
  json::Member(w, "uid", static_cast<uint64_t>(getuid()));
  json::Member(w, "gid", static_cast<uint64_t>(getgid()));
  const std::string ids = ReadSmallFile("/proc/self/uid_map").value_or("");
  std::string map;
  for (const auto word : Words(ids)) map.append(map.empty() ? "" : " ").append(word);
  json::Member(w, "uid_map", map);
}

void Network(json::Writer& w) {
  w.Key("interfaces");
  w.StartArray();
  for (const auto& name : InterfaceNames(ReadSmallFile("/proc/self/net/dev").value_or("")))
    json::String(w, name);
  w.EndArray();
  w.Key("unreachable_routes");
  const auto ranges = UnreachableRanges();
  if (!ranges) {
    w.Null();
    return;
  }
  w.StartArray();
  for (const auto& range : *ranges) json::String(w, ToText(range));
  w.EndArray();
}

std::optional<uint64_t> Size(const struct statvfs& info) {
  return static_cast<uint64_t>(info.f_blocks) * info.f_frsize;
}

void Disks(json::Writer& w, const std::string& workspace) {
  struct statvfs root {};
  const bool has_root = statvfs("/", &root) == 0;
  Optional(w, "root_read_only", has_root ? std::optional((root.f_flag & ST_RDONLY) != 0) : std::nullopt);
  Optional(w, "root_bytes", has_root ? Size(root) : std::nullopt);
  struct statvfs own {};
  Optional(w, "workspace_bytes", statvfs(workspace.c_str(), &own) == 0 ? Size(own) : std::nullopt);
  struct stat above {};
  struct stat folder {};
  const bool known = stat("/", &above) == 0 && stat(workspace.c_str(), &folder) == 0;
  Optional(w, "workspace_separate", known ? std::optional(above.st_dev != folder.st_dev) : std::nullopt);
}

void ResourceLimits(json::Writer& w) {
  constexpr struct {
    const char* name;
    int which;
  } kLimits[] = {{"as", RLIMIT_AS},      {"core", RLIMIT_CORE},   {"cpu", RLIMIT_CPU},
                 {"data", RLIMIT_DATA},  {"fsize", RLIMIT_FSIZE}, {"nofile", RLIMIT_NOFILE},
                 {"nproc", RLIMIT_NPROC}};
  w.Key("rlimits");
  w.StartObject();
  for (const auto& [name, which] : kLimits) {
    rlimit limit;
    const bool bounded =
        getrlimit(static_cast<__rlimit_resource>(which), &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    Optional(w, name, bounded ? std::optional<uint64_t>(limit.rlim_cur) : std::nullopt);
  }
  w.EndObject();
}

}  // namespace

std::string Report(const std::string& workspace) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  Groups(w);
  OwnMachine(w);
  Rights(w);
  Network(w);
  Disks(w, workspace);
  ResourceLimits(w);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace csb::agent

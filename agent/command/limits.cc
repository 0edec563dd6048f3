// SPDX-License-Identifier: Apache-2.0
#include "agent/command/limits.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "agent/base/proc_file.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::agent {
namespace {

std::string ReadAll(const std::string& path) { return ReadSmallFile(path).value_or(""); }

void Number(json::Writer& w, std::string_view key, const std::string& text) {
  json::Key(w, key);
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || end == text.c_str())
    w.Null();
  else
    w.Int64(value);
}

void Limit(json::Writer& w, const char* key, int which) {
  rlimit limit;
  w.Key(key);
  if (getrlimit(static_cast<__rlimit_resource>(which), &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
    w.Null();
  else
    w.Uint64(limit.rlim_cur);
}

void Disk(json::Writer& w, const char* key, const std::string& path) {
  struct statvfs info;
  w.Key(key);
  if (statvfs(path.c_str(), &info) < 0) {
    w.Null();
    return;
  }
  w.StartObject();
  json::Member(w, "size", static_cast<uint64_t>(info.f_blocks) * info.f_frsize);
  json::Member(w, "free", static_cast<uint64_t>(info.f_bavail) * info.f_frsize);
  json::Member(w, "files", static_cast<uint64_t>(info.f_files));
  w.EndObject();
}

void Interfaces(json::Writer& w) {
  w.Key("interfaces");
  w.StartArray();
  for (const auto& name : InterfaceNames(ReadAll("/proc/self/net/dev"))) json::String(w, name);
  w.EndArray();
}

std::string FirstOf(std::initializer_list<const char*> paths) {
  for (const char* path : paths)
    if (std::string text = ReadAll(path); !text.empty()) return std::string(Trimmed(text));
  return {};
}

}  // namespace

int RunLimitsTask(int result_fd, const std::string& workspace, const std::string& tmp) {
  const std::string status = ReadAll("/proc/self/status");
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", 0);
  w.Key("result");
  w.StartObject();
  json::Member(w, "uid", static_cast<uint64_t>(getuid()));
  json::Member(w, "gid", static_cast<uint64_t>(getgid()));
  Number(w, "seccomp", StatusField(status, "Seccomp"));
  Number(w, "no_new_privs", StatusField(status, "NoNewPrivs"));
  json::Member(w, "cap_eff", StatusField(status, "CapEff"));
  json::Member(w, "cap_prm", StatusField(status, "CapPrm"));
  json::Member(w, "cap_bnd", StatusField(status, "CapBnd"));
  json::Member(w, "groups", StatusField(status, "Groups"));
  Number(w, "userns_max", ReadAll("/proc/sys/user/max_user_namespaces"));
  json::Member(w, "uid_map", Trimmed(ReadAll("/proc/self/uid_map")));
  Number(w, "pids_max", FirstOf({"/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"}));
  Number(w, "memory_max",
         FirstOf({"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}));
  w.Key("rlimits");
  w.StartObject();
  Limit(w, "as", RLIMIT_AS);
  Limit(w, "core", RLIMIT_CORE);
  Limit(w, "cpu", RLIMIT_CPU);
  Limit(w, "data", RLIMIT_DATA);
  Limit(w, "fsize", RLIMIT_FSIZE);
  Limit(w, "nofile", RLIMIT_NOFILE);
  Limit(w, "nproc", RLIMIT_NPROC);
  w.EndObject();
  Disk(w, "workspace", workspace);
  Disk(w, "tmp", tmp);
  Interfaces(w);
  w.EndObject();
  w.EndObject();
  std::string line(buffer.GetString(), buffer.GetSize());
  line += '\n';
  return write(result_fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) ? 0 : 1;
}

}  // namespace csb::agent

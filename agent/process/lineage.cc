// SPDX-License-Identifier: Apache-2.0
#include "agent/process/lineage.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "agent/base/fd.h"

namespace csb::agent {
namespace {

// All of a small /proc file; empty when it cannot be read.
std::string ReadAll(const char* path) {
  std::string text;
  const Fd file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return text;
  char buffer[4096];
  ssize_t n;
  while ((n = read(file.get(), buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(n));
  return text;
}

bool KernelListsChildren() {
  static const bool yes = [] {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%d/children", static_cast<int>(getpid()));
    return access(path, R_OK) == 0;
  }();
  return yes;
}

// The numeric names in a folder of /proc.
std::vector<pid_t> Numbers(const char* folder) {
  std::vector<pid_t> numbers;
  DIR* dir = opendir(folder);
  if (dir == nullptr) return numbers;
  while (const dirent* entry = readdir(dir)) {
    const int number = std::atoi(entry->d_name);
    if (number > 0) numbers.push_back(number);
  }
  closedir(dir);
  return numbers;
}

void AppendPids(const std::string& text, std::vector<pid_t>& out) {
  const char* p = text.c_str();
  while (*p != 0) {
    char* end;
    const long pid = std::strtol(p, &end, 10);
    if (end == p) break;
    if (pid > 0) out.push_back(static_cast<pid_t>(pid));
    p = end;
  }
}

pid_t ParentOf(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  const std::string text = ReadAll(path);
  // The name, in parentheses, may hold anything; the last ')' ends it.
  const size_t end = text.rfind(')');
  if (end == std::string::npos || end + 4 >= text.size()) return 0;
  return static_cast<pid_t>(std::atoi(text.c_str() + end + 4));
}

}  // namespace

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  if (KernelListsChildren()) {
    char path[80];
    std::snprintf(path, sizeof path, "/proc/%d/task", static_cast<int>(pid));
    for (const pid_t thread : Numbers(path)) {
      std::snprintf(path, sizeof path, "/proc/%d/task/%d/children", static_cast<int>(pid),
                    static_cast<int>(thread));
      AppendPids(ReadAll(path), children);
    }
  } else {
    for (const pid_t other : Numbers("/proc"))
      if (ParentOf(other) == pid) children.push_back(other);
  }
  return children;
}

size_t Sweeper::Sweep(pid_t root, const std::function<bool(pid_t)>& spare) {
  // Without the kernel's lists one picture of all processes serves the whole sweep; what forked since is
  // found by the next.
  std::multimap<pid_t, pid_t> picture;
  if (!KernelListsChildren())
    for (const pid_t pid : Numbers("/proc")) picture.emplace(ParentOf(pid), pid);
  const auto children = [&](pid_t pid) {
    if (picture.empty()) return ChildrenOf(pid);
    std::vector<pid_t> list;
    for (auto [it, end] = picture.equal_range(pid); it != end; ++it) list.push_back(it->second);
    return list;
  };

  size_t found = 0;
  std::set<pid_t> seen;  // a picture taken while numbers were used again may hold a circle
  std::vector<pid_t> generation = children(root);
  while (!generation.empty()) {
    // All of a generation dies before its children are looked up: reading /proc is the slow part.
    std::vector<pid_t> fresh;
    for (const pid_t pid : generation) {
      if (!seen.insert(pid).second || (spare && spare(pid))) continue;
      ++found;
      if (!done_.insert(pid).second && picture.empty()) continue;
      kill(pid, SIGKILL);
      fresh.push_back(pid);
    }
    generation.clear();
    for (const pid_t pid : fresh)
      for (const pid_t child : children(pid)) generation.push_back(child);
  }
  return found;
}

}  // namespace csb::agent

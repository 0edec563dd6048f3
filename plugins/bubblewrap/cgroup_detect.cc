// SPDX-License-Identifier: Apache-2.0
//
// Finds the folders of this process's own groups and prepares a place for the sandboxes' in each.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "plugins/bubblewrap/cgroup.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

constexpr char kFolder[] = "clara-sandbox";
constexpr char kHostLeaf[] = "clara-sandbox-host";

bool Lists(std::string_view list, std::string_view word, char separator) {
  while (!list.empty()) {
    const std::string_view item = list.substr(0, list.find(separator));
    if (item == word) return true;
    list.remove_prefix(item.size() < list.size() ? item.size() + 1 : item.size());
  }
  return false;
}

// mountinfo writes blank, tab, newline and backslash as \ooo.
std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

struct Mount {
  std::string root, point, type, options;
};

std::vector<Mount> CgroupMounts(const std::string& mountinfo) {
  std::vector<Mount> mounts;
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, point, word, type, source, super;
    words >> id >> parent >> device >> root >> point;
    while (words >> word && word != "-") {
    }
    words >> type >> source >> super;
    if (type == "cgroup" || type == "cgroup2")
      mounts.push_back({Unescape(root), Unescape(point), type, super});
  }
  return mounts;
}

// The folder of group `path` in a mount that shows the hierarchy from `root` down.
std::string FolderOf(const Mount& mount, const std::string& path) {
  if (mount.root == "/") return path == "/" ? mount.point : mount.point + path;
  if (path == mount.root) return mount.point;
  if (path.compare(0, mount.root.size() + 1, mount.root + "/") == 0)
    return mount.point + path.substr(mount.root.size());
  return mount.point;  // a namespace hides where we are: the visible top is ours
}

std::string Why(const std::string& what) { return what + ": " + std::generic_category().message(errno); }

// A version 1 controller needs nothing but a folder.
Controller PrepareV1(const std::string& own, std::string* why) {
  const std::string folder = own + "/" + kFolder;
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    *why = Why("mkdir " + folder);
    return {};
  }
  if (access(folder.c_str(), W_OK) != 0) {
    *why = Why("write to " + folder);
    return {};
  }
  return {folder, 1};
}

// Hands controllers down from `group`. Version 2 forbids processes beside child groups, so when
// this process is the only one there it moves into a leaf of its own first.
bool HandDown(const std::string& group, const std::string& wanted, std::string* why) {
  const std::string control = group + "/cgroup.subtree_control";
  Status done = WriteSmallFile(control, wanted);
  if (done) return true;
  const auto procs = ReadSmallFile(group + "/cgroup.procs");
  if (procs && ParseCount(*procs) == static_cast<uint64_t>(getpid())) {
    const std::string leaf = group + "/" + kHostLeaf;
    if (mkdir(leaf.c_str(), 0755) == 0 || errno == EEXIST) {
      if (WriteSmallFile(leaf + "/cgroup.procs", std::to_string(getpid())))
        done = WriteSmallFile(control, wanted);
    }
  }
  if (!done) *why = done.error().message;
  return done.ok();
}

std::string PrepareV2(const std::string& group, const std::string& wanted, std::string* why) {
  const std::string folder = group + "/" + kFolder;
  const auto available = ReadSmallFile(group + "/cgroup.subtree_control");
  std::string list = available ? *available : "";
  while (!list.empty() && list.back() == '\n') list.pop_back();
  bool all = true;
  std::istringstream words(wanted);
  for (std::string word; words >> word;) all = all && Lists(list, word.substr(1), ' ');
  if (!all && !HandDown(group, wanted, why)) return {};
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    *why = Why("mkdir " + folder);
    return {};
  }
  if (Status s = WriteSmallFile(folder + "/cgroup.subtree_control", wanted); !s) {
    *why = s.error().message;
    return {};
  }
  return folder;
}

}  // namespace

CgroupView ReadCgroupView() {
  CgroupView view;
  if (auto text = ReadSmallFile("/proc/self/cgroup")) view.self_cgroup = *std::move(text);
  if (auto text = ReadSmallFile("/proc/self/mountinfo")) view.mountinfo = *std::move(text);
  return view;
}

std::vector<Hierarchy> ParseHierarchies(const CgroupView& view) {
  std::vector<Hierarchy> out;
  const std::vector<Mount> mounts = CgroupMounts(view.mountinfo);
  std::istringstream lines(view.self_cgroup);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    for (const Mount& mount : mounts) {
      const bool match = names.empty() ? mount.type == "cgroup2"
                                       : mount.type == "cgroup" &&
                                             Lists(mount.options, names.substr(0, names.find(',')), ',');
      if (!match) continue;
      out.push_back({names, FolderOf(mount, path), mount.point});
      break;
    }
  }
  return out;
}

CgroupParent FindCgroupParent(const CgroupView& view) {
  CgroupParent parent;
  std::string why;
  const auto hierarchies = ParseHierarchies(view);
  for (const Hierarchy& h : hierarchies) {
    const auto take = [&](const char* name, Controller* controller) {
      if (Lists(h.controllers, name, ',')) *controller = PrepareV1(h.folder, &why);
    };
    take("memory", &parent.memory);
    take("cpu", &parent.cpu);
    take("cpuacct", &parent.cpuacct);
    take("pids", &parent.pids);
  }
  for (const Hierarchy& h : hierarchies) {
    if (!h.controllers.empty()) continue;
    // Own group first, so that the sandboxes nest; else the visible top, which admits processes.
    for (const std::string& group : {h.folder, h.top}) {
      const auto offered = ReadSmallFile(group + "/cgroup.controllers");
      if (!offered) continue;
      std::string list = *offered;
      while (!list.empty() && list.back() == '\n') list.pop_back();
      std::string wanted;
      for (const char* name : {"memory", "cpu", "pids"})
        if (Lists(list, name, ' ')) wanted += (wanted.empty() ? "+" : " +") + std::string(name);
      if (wanted.empty()) continue;
      const std::string folder = PrepareV2(group, wanted, &why);
      if (folder.empty()) continue;
      if (Lists(list, "memory", ' ')) parent.memory = {folder, 2};
      if (Lists(list, "pids", ' ')) parent.pids = {folder, 2};
      if (Lists(list, "cpu", ' ')) parent.cpu = parent.cpuacct = {folder, 2};
      break;
    }
  }
  if (!parent.memory) parent.missing += " memory";
  if (!parent.cpu) parent.missing += " cpu";
  if (!parent.pids) parent.missing += " pids";
  if (!parent.missing.empty())
    parent.missing =
        "no control group for" + parent.missing + " (" +
        (why.empty() ? "the controllers are not mounted, or not delegated to this process" : why) + ")";
  return parent;
}

}  // namespace csb::bwrap

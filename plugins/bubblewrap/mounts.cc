// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/mounts.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugins/bubblewrap/launch/request.h"
#include "plugins/bubblewrap/uid_pair.h"

namespace csb::bwrap {
namespace {

class Command {
 public:
  template <typename... Words>
  void Add(const Words&... words) {
    (argv_.emplace_back(words), ...);
  }
  std::vector<std::string> Take() { return std::move(argv_); }

 private:
  std::vector<std::string> argv_;
};

void Namespaces(Command& c, const SandboxView& view) {
  if (view.separate_uids) {
    c.Add("--userns", std::to_string(launch::kUsernsFd), "--uid", "0", "--gid", "0");
  } else {
    const std::string id = std::to_string(kUserInside);
    c.Add("--unshare-user", "--disable-userns", "--uid", id, "--gid", id);
  }
  c.Add("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup");
  if (view.network_namespace) c.Add("--unshare-net");
  c.Add("--as-pid-1", "--new-session", "--hostname", "sandbox", "--clearenv");
}

void Rights(Command& c, const SandboxView& view) {
  c.Add("--cap-drop", "ALL");
  if (!view.separate_uids) return;
  c.Add("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_KILL");
  if (view.set_routes) c.Add("--cap-add", "CAP_NET_ADMIN");
}

// /bin and its like: links into /usr on most systems, folders on older ones.
void SystemFolders(Command& c) {
  c.Add("--ro-bind", "/usr", "/usr");
  for (const char* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    struct stat info {};
    if (lstat(name, &info) != 0) continue;
    if (S_ISLNK(info.st_mode)) {
      char target[PATH_MAX];
      const ssize_t n = readlink(name, target, sizeof target);
      if (n > 0) c.Add("--symlink", std::string(target, static_cast<size_t>(n)), name);
    } else if (S_ISDIR(info.st_mode)) {
      c.Add("--ro-bind", name, name);
    }
  }
}

void Proc(Command& c) {
  // With one uid, code owns the settings of its own ipc and network namespaces; bwrap covers /proc/sys only
  // where the folder itself is writable, which it never is.
  c.Add("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys");
  // bwrap itself covers sysrq-trigger, irq and bus; these tell about the host. What only the host's
  // root may read is out of reach without being covered.
  for (const char* name : {"/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list",
                           "/proc/sched_debug", "/proc/latency_stats", "/proc/kmsg", "/proc/kallsyms"}) {
    struct stat info {};
    if (stat(name, &info) == 0 && (info.st_mode & S_IROTH) != 0) c.Add("--ro-bind", "/dev/null", name);
  }
}

void Writable(Command& c, const SandboxView& view) {
  const std::string size = std::to_string(view.tmp_bytes);
  // Together less than the memory: a sandbox that fills both can still start something that clears them.
  const std::string shared = std::to_string(view.tmp_bytes / 2);
  c.Add("--dev", "/dev", "--size", shared, "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev");
  c.Add("--size", size, "--perms", "1777", "--tmpfs", "/tmp", "--dir", "/var", "--symlink", "/tmp",
        "/var/tmp");
  c.Add("--bind", view.workspace, "/workspace");
}

}  // namespace

std::vector<std::string> BwrapCommand(const SandboxView& view) {
  Command c;
  c.Add(view.bwrap);
  Namespaces(c, view);
  Rights(c, view);
  c.Add("--seccomp", std::to_string(launch::kSeccompFd), "--info-fd", std::to_string(launch::kReportFd));
  if (view.wait_for_host) c.Add("--block-fd", std::to_string(launch::kBlockFd));
  SystemFolders(c);
  c.Add("--ro-bind", view.etc, "/etc");
  for (const std::string& folder : view.etc_binds) c.Add("--ro-bind", folder, folder);
  Proc(c);
  Writable(c, view);
  // User code has no business with the agent's own files.
  c.Add("--dir", "/run", "--perms", "0700", "--dir", "/run/clara");
  c.Add("--ro-bind", view.control, kControlInside, "--ro-bind", view.agent, kAgentInside);
  c.Add("--remount-ro", "/", "--chdir", "/", "--");
  // Counted for each user namespace: set before, the host user's other processes would count too.
  if (view.processes > 0) {
    const std::string n = std::to_string(view.processes);
    c.Add("/usr/bin/prlimit", "--nproc=" + n + ":" + n);
  }
  c.Add(kAgentInside);
  c.Add("--control", kControlInside, "--workspace", "/workspace");
  const std::string id = std::to_string(kUserInside);
  if (view.separate_uids) c.Add("--user", id, "--group", id);
  for (const std::string& option : view.agent_options) c.Add(option);
  return c.Take();
}

}  // namespace csb::bwrap

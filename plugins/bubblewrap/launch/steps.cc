// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/launch/steps.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "plugins/bubblewrap/launch/request.h"

namespace csb::bwrap::launch {
namespace {

void WriteFile(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) Fail("open " + path);
  if (write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) Fail("write to " + path);
  close(fd);
}

std::string DescriptorPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

// What `source` was before the stage covered it, bound on `target`.
void Bind(int source, const char* target) {
  if (mount(DescriptorPath(source).c_str(), target, nullptr, MS_BIND, nullptr) != 0)
    Fail(std::string("bind mount on ") + target);
  close(source);
}

int OpenPath(const std::string& path, int flags) {
  const int fd = open(path.c_str(), O_PATH | O_CLOEXEC | flags);
  if (fd < 0) Fail("open " + path);
  return fd;
}

void MakeFolder(const char* path) {
  if (mkdir(path, 0755) != 0 && errno != EEXIST) Fail(std::string("mkdir ") + path);
}

}  // namespace

void FailPlain(const std::string& message) {
  const std::string line = "!" + message + "\n";
  const ssize_t written = write(kReportFd, line.data(), line.size());
  _exit(written < 0 ? 2 : 1);
}

void Fail(const std::string& what) { FailPlain(what + ": " + strerror(errno)); }

Request Request::Read(int fd) {
  std::string text;
  char buffer[8192];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail("read the request");
    text.append(buffer, static_cast<size_t>(n));
  }
  Request request;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\0', begin);
    if (end == std::string::npos) FailPlain("the request is cut short");
    const std::string item = text.substr(begin, end - begin);
    const size_t equals = item.find('=');
    if (equals == std::string::npos) FailPlain("the request has an item without '='");
    request.items_.emplace_back(item.substr(0, equals), item.substr(equals + 1));
    begin = end + 1;
  }
  return request;
}

const std::string& Request::Get(std::string_view key) const {
  static const std::string kNone;
  for (const auto& [k, v] : items_)
    if (k == key) return v;
  return kNone;
}

std::vector<std::string> Request::All(std::string_view key) const {
  std::vector<std::string> out;
  for (const auto& [k, v] : items_)
    if (k == key) out.push_back(v);
  return out;
}

unsigned Request::Number(std::string_view key) const {
  return static_cast<unsigned>(strtoul(Get(key).c_str(), nullptr, 10));
}

void JoinCgroups(const std::vector<std::string>& procs_files) {
  for (const std::string& file : procs_files) WriteFile(file, "0");
}

void StageMounts(const Request& request) {
  // Slave, not private: an unmount on the host must reach this namespace, or it would pin devices.
  if (unshare(CLONE_NEWNS) != 0) Fail("unshare(CLONE_NEWNS)");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) Fail("mount / as slave");
  // In this namespace, but before the stage covers what is below it.
  const int agent = OpenPath(request.Get("agent"), 0);
  const int control = OpenPath(request.Get("control"), O_DIRECTORY | O_NOFOLLOW);
  const int etc = OpenPath(request.Get("etc"), O_DIRECTORY | O_NOFOLLOW);
  const std::string& image = request.Get("image");
  const int workspace = image.empty() ? OpenPath(request.Get("workspace"), O_DIRECTORY | O_NOFOLLOW) : -1;
  const int image_fd = image.empty() ? -1 : open(image.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (!image.empty() && image_fd < 0) Fail("open " + image);

  if (mount("tmpfs", kStage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") != 0)
    Fail(std::string("mount tmpfs on ") + kStage);
  const int file = open(kStagedAgent, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) Fail(std::string("create ") + kStagedAgent);
  close(file);
  MakeFolder(kStagedControl);
  MakeFolder(kStagedEtc);
  MakeFolder(kStagedWorkspace);
  Bind(agent, kStagedAgent);
  Bind(control, kStagedControl);
  Bind(etc, kStagedEtc);
  if (image_fd >= 0) {
    MountImage(image_fd, image, kStagedWorkspace, request.Number("user_uid"));
    close(image_fd);
  } else {
    Bind(workspace, kStagedWorkspace);
  }
}

void StageTun(unsigned owner) {
  if (unshare(CLONE_NEWNS) != 0) Fail("unshare(CLONE_NEWNS)");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) Fail("mount / as slave");
  struct stat tun {};
  if (stat("/dev/net/tun", &tun) != 0) Fail("stat /dev/net/tun");
  if (mount("tmpfs", "/dev/net", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k") != 0)
    Fail("mount tmpfs on /dev/net");
  if (mknod("/dev/net/tun", S_IFCHR | 0600, tun.st_rdev) != 0) Fail("mknod /dev/net/tun");
  if (chown("/dev/net/tun", owner, owner) != 0) Fail("chown /dev/net/tun");
}

namespace {

struct Holder {
  unsigned agent;
  int up, down;
};

// Shares our memory, which saves copying it; one of the two runs while the other waits, so nothing is
// written by both.
int Hold(void* given) {
  const Holder& holder = *static_cast<const Holder*>(given);
  char byte = 0;
  BecomeUid(holder.agent);
  if (unshare(CLONE_NEWUSER) != 0) Fail("unshare(CLONE_NEWUSER) as uid " + std::to_string(holder.agent));
  if (write(holder.up, &byte, 1) != 1 || read(holder.down, &byte, 1) != 1) _exit(1);
  // Belt to the seccomp filter's braces: the kernel itself makes no user namespace below this one.
  WriteFile("/proc/sys/user/max_user_namespaces", "0\n");
  _exit(0);
}

}  // namespace

int MakeUserNamespace(unsigned agent, unsigned user) {
  int up[2], down[2];
  if (pipe2(up, O_CLOEXEC) != 0 || pipe2(down, O_CLOEXEC) != 0) Fail("pipe2");
  alignas(16) static char stack[64 << 10];
  Holder given{agent, up[1], down[0]};
  const pid_t holder = clone(&Hold, stack + sizeof stack, CLONE_VM | SIGCHLD, &given);
  if (holder < 0) Fail("clone");
  close(up[1]);
  close(down[0]);
  char byte = 0;
  if (read(up[0], &byte, 1) != 1) _exit(1);  // the holder has said why
  const std::string proc = "/proc/" + std::to_string(holder);
  const std::string map = "0 " + std::to_string(agent) + " 1\n1000 " + std::to_string(user) + " 1\n";
  WriteFile(proc + "/uid_map", map);
  WriteFile(proc + "/gid_map", map);
  const int ns = open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC);
  if (ns < 0) Fail("open " + proc + "/ns/user");
  if (write(down[1], &byte, 1) != 1) Fail("write to the holder of the user namespace");
  int status = 0;
  while (waitpid(holder, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) _exit(1);
  close(up[0]);
  close(down[1]);
  return ns;
}

void SetLimits(const Request& request) {
  for (const std::string& text : request.All("rlimit")) {
    unsigned resource = 0;
    unsigned long long soft = 0, hard = 0;
    if (sscanf(text.c_str(), "%u:%llu:%llu", &resource, &soft, &hard) != 3) FailPlain("rlimit " + text + "?");
    rlimit now{};
    if (getrlimit(static_cast<__rlimit_resource_t>(resource), &now) != 0) Fail("getrlimit " + text);
    // Never above what the host itself has: raising needs a capability that may be missing.
    rlimit limit{soft, hard};
    if (now.rlim_max != RLIM_INFINITY && limit.rlim_max > now.rlim_max) limit.rlim_max = now.rlim_max;
    if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
    if (setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) Fail("setrlimit " + text);
  }
}

void BecomeUid(unsigned uid) {
  if (setgroups(0, nullptr) != 0) Fail("setgroups");
  if (setresgid(uid, uid, uid) != 0) Fail("setresgid " + std::to_string(uid));
  if (setresuid(uid, uid, uid) != 0) Fail("setresuid " + std::to_string(uid));
}

}  // namespace csb::bwrap::launch

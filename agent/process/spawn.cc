// SPDX-License-Identifier: Apache-2.0
#include "agent/process/spawn.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "agent/command/limits.h"
#include "agent/files/task.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CSB_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CSB_SANITIZED 1
#endif
#endif

namespace csb::agent {
namespace {

// Everything the child needs, laid out before the fork: after vfork it may neither allocate nor return.
struct Plan {
  const Identity* identity;
  ChildStdio stdio;
  int highest_fd;  // the last one the child keeps
  bool become_dumpable;
  bool terminal;
  const char* cwd;  // null: stays
  const char* const* programs;
  char* const* argv;
  char* const* envp;
  // Answer.
  volatile Stage stage = Stage::kNone;
  volatile int error = 0;
};

void CloseFrom(int first) {
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
  rlimit limit;
  const rlim_t end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? limit.rlim_cur : 65536;
  for (rlim_t fd = static_cast<rlim_t>(first); fd < end; ++fd) close(static_cast<int>(fd));
}

bool Failed(Plan& plan, Stage stage) {
  plan.error = errno;
  plan.stage = stage;
  return false;
}

// The kernel should end the user's processes, never the agent, when memory runs out.
void OfferToOomKiller() {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, "500", 3) <
      0) { /* a kernel or mask that refuses leaves the default score: still a valid choice */
  }
  close(fd);
}

// In the child, on raw system calls: glibc's setres*id would try to reach "other threads" of the shared
// memory.
bool BecomeUser(Plan& plan) {
  const Identity& identity = *plan.identity;
  if (setsid() < 0 && errno != EPERM) return Failed(plan, Stage::kSetup);
  if (plan.become_dumpable) prctl(PR_SET_DUMPABLE, 1);
  OfferToOomKiller();
  const int from[] = {plan.stdio.in, plan.stdio.out, plan.stdio.err, plan.stdio.result};
  for (int to = 0; to <= plan.highest_fd; ++to)
    if (dup2(from[to], to) < 0) return Failed(plan, Stage::kSetup);
  CloseFrom(plan.highest_fd + 1);
  if (plan.terminal && ioctl(0, TIOCSCTTY, 0) < 0) return Failed(plan, Stage::kSetup);
  if (identity.files.rlim_cur != 0 && setrlimit(RLIMIT_NOFILE, &identity.files) < 0)
    return Failed(plan, Stage::kSetup);
  // An agent that was started with a better priority keeps it for itself.
  if (syscall(SYS_getpriority, PRIO_PROCESS, 0) > 20) setpriority(PRIO_PROCESS, 0, 0);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return Failed(plan, Stage::kUser);
  if (identity.separate) {
    if (syscall(SYS_setresgid, identity.gid, identity.gid, identity.gid) < 0)
      return Failed(plan, Stage::kUser);
    if (syscall(SYS_setresuid, identity.uid, identity.uid, identity.uid) < 0)
      return Failed(plan, Stage::kUser);
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  if (syscall(SYS_capset, &header, none) < 0) return Failed(plan, Stage::kUser);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t empty;
  sigemptyset(&empty);
  sigprocmask(SIG_SETMASK, &empty, nullptr);
  if (plan.cwd != nullptr && chdir(plan.cwd) < 0) return Failed(plan, Stage::kCwd);
  return true;
}

void RunProgram(Plan& plan) {
  if (!BecomeUser(plan)) return;
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGPIPE, &standard, nullptr);
  int worst = ENOENT;
  for (const char* const* program = plan.programs; *program != nullptr; ++program) {
    execve(*program, plan.argv, plan.envp);
    // As execvp: a match that may not be run is remembered while the search goes on.
    if (errno == EACCES)
      worst = EACCES;
    else if (errno != ENOENT && errno != ENOTDIR) {
      worst = errno;
      break;
    }
  }
  errno = worst;
  Failed(plan, Stage::kExec);
}

// Kept apart so that the compiler holds nothing of the caller in registers across vfork.
[[gnu::noinline]] pid_t StartSharing(Plan& plan) {
#if defined(CSB_SANITIZED)
  errno = ENOSYS;
  (void)plan;
  return -1;
#else
  const pid_t pid = vfork();
  if (pid == 0) {
    RunProgram(plan);
    _exit(127);
  }
  return pid;
#endif
}

// With a copy of the memory: errors come back through a pipe that execve closes. The supervisor's descriptors
// below 5 are its own, so none of those passed in is ever 3.
pid_t StartCopied(Plan& plan) {
  int answer[2];
  if (pipe2(answer, O_CLOEXEC) < 0) return -1;
  const pid_t pid = fork();
  if (pid == 0) {
    // 3 is the supervisor's own socket, of which the child has no need; BecomeUser keeps what is there now.
    if (dup3(answer[1], 3, O_CLOEXEC) < 0) _exit(126);
    plan.stdio.result = 3;
    plan.highest_fd = 3;
    RunProgram(plan);
    const int words[2] = {static_cast<int>(plan.stage), plan.error};
    if (write(3, words, sizeof words) < 0) _exit(126);
    _exit(127);
  }
  const int error = errno;
  close(answer[1]);
  if (pid > 0) {
    int words[2];
    if (read(answer[0], words, sizeof words) == sizeof words) {
      plan.stage = static_cast<Stage>(words[0]);
      plan.error = words[1];
    }
  }
  close(answer[0]);
  errno = error;
  return pid;
}

std::vector<char*> Pointers(const std::vector<std::string>& list) {
  std::vector<char*> pointers;
  pointers.reserve(list.size() + 1);
  for (const auto& text : list) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Candidates(const StartSpec& spec) {
  const std::string& name = spec.argv[0];
  if (name.empty() || name.find('/') != std::string::npos) return {name};
  std::string_view path = "/usr/local/bin:/usr/bin:/bin";
  for (const auto& entry : spec.env)
    if (entry.rfind("PATH=", 0) == 0) path = std::string_view(entry).substr(5);
  std::vector<std::string> candidates;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    // An empty entry of PATH is the working directory (environ(7)).
    const std::string folder = end == begin ? "." : std::string(path.substr(begin, end - begin));
    candidates.push_back(folder + "/" + name);
    begin = end + 1;
  }
  return candidates;
}

}  // namespace

SpawnResult SpawnProgram(const StartSpec& spec, const Identity& identity, const ChildStdio& stdio) {
  const std::vector<std::string> programs = Candidates(spec);
  const std::vector<char*> program_pointers = Pointers(programs);
  const std::vector<char*> argv = Pointers(spec.argv);
  const std::vector<char*> envp = Pointers(spec.env);
  Plan plan{};
  plan.identity = &identity;
  plan.stdio = stdio;
  plan.highest_fd = 2;
  plan.terminal = spec.terminal != 0;
  plan.cwd = spec.cwd.c_str();
  plan.programs = program_pointers.data();
  plan.argv = argv.data();
  plan.envp = envp.data();
  // With one uid the child must be dumpable to open its own /proc files, and with shared memory that would
  // open the supervisor too; so memory is shared only where the user's uid is another.
  pid_t pid = -1;
  errno = ENOSYS;
  if (identity.separate) pid = StartSharing(plan);
  if (pid < 0 && errno == ENOSYS) {
    plan.become_dumpable = !identity.separate;
    pid = StartCopied(plan);
  }
  if (pid < 0) return {-1, Stage::kFork, errno};
  if (plan.stage == Stage::kNone) return {pid, Stage::kNone, 0};
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return {-1, plan.stage, plan.error};
}

SpawnResult SpawnTask(const StartSpec& spec, const Identity& identity, const ChildStdio& stdio) {
  const pid_t pid = fork();
  if (pid < 0) return {-1, Stage::kFork, errno};
  if (pid > 0) return {pid, Stage::kNone, 0};
  Plan plan{};
  plan.identity = &identity;
  plan.stdio = stdio;
  plan.highest_fd = 3;
  if (!BecomeUser(plan)) _exit(125);
  // The agent's memory is of no interest to the user's other processes, but stays out of their reach.
  prctl(PR_SET_DUMPABLE, 0);
  const FileTaskIo io{0, 1, 2, 3, identity.workspace};
  if (spec.task == "agent_limits") _exit(RunLimitsTask(io.result_fd, identity.workspace, identity.tmp));
  auto args = json::ParseObject(spec.task_args);
  if (!args) _exit(125);
  _exit(RunFileTask(spec.task, *args, io));
}

}  // namespace csb::agent

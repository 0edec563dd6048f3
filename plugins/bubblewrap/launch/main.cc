// SPDX-License-Identifier: Apache-2.0
//
// clara-sandbox-launch: from the host's request to a running bwrap, as a checklist. The process that
// becomes bwrap is detached from the host: own session, no descriptor but the four of request.h, and
// adopted by init once this program has ended, so that the sandbox lives on when the host does not.
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "plugins/bubblewrap/launch/request.h"
#include "plugins/bubblewrap/launch/steps.h"

namespace launch = csb::bwrap::launch;

namespace {

[[noreturn]] void Exec(const launch::Request& request) {
  std::vector<std::string> args = request.All("arg");
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  execve(argv[0], argv.data(), environment);
  launch::Fail("exec " + args[0]);
}

[[noreturn]] void ExecBwrap(const launch::Request& request, unsigned agent) {
  if (setsid() < 0) launch::Fail("setsid");
  launch::SetLimits(request);
  if (agent != 0) launch::BecomeUid(agent);
  Exec(request);
}

// bwrap tells its child's pid to us and we tell the host: were the host gone, bwrap would die of its
// report, and its child would wait for it for ever, with the workspace mounted.
int Start(const launch::Request& request, unsigned agent) {
  int info[2];
  if (pipe2(info, O_CLOEXEC) != 0) launch::Fail("pipe2");
  // The child only makes system calls and allocates, and ends in an exec: nothing is worth copying for it.
  const pid_t child = vfork();
  if (child < 0) launch::Fail("vfork");
  if (child == 0) {
    if (dup2(info[1], launch::kReportFd) < 0) launch::Fail("dup2");
    ExecBwrap(request, agent);
  }
  close(info[1]);
  std::string report = "monitor " + std::to_string(child) + "\n";
  char buffer[1024];
  for (ssize_t n; (n = read(info[0], buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) launch::Fail("read what bwrap reports");
    report.append(buffer, static_cast<size_t>(n));
  }
  signal(SIGPIPE, SIG_IGN);
  if (write(launch::kReportFd, report.data(), report.size()) == static_cast<ssize_t>(report.size())) return 0;
  const size_t key = report.find("\"child-pid\":");
  if (key != std::string::npos)
    kill(static_cast<pid_t>(strtol(report.c_str() + key + 12, nullptr, 10)), SIGKILL);
  kill(child, SIGKILL);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  // Whatever the host's caller left open must not reach the sandbox.
  syscall(SYS_close_range, launch::kUsernsFd, ~0U, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_DFL);

  // Moving between groups waits for the kernel's readers, often for ten milliseconds: it comes first, so
  // that a host can have it done before anybody asks for a sandbox.
  launch::JoinCgroups({argv + 1, argv + argc});
  const launch::Request request = launch::Request::Read(launch::kRequestFd);
  close(launch::kRequestFd);
  if (request.empty()) return 0;  // the host needs us no more
  if (!request.Has("block")) close(launch::kBlockFd);
  if (!request.Has("arg")) launch::FailPlain("the request names no command");
  if (request.Has("direct")) {
    if (request.Has("tun_owner")) launch::StageTun(request.Number("tun_owner"));
    fcntl(launch::kReportFd, F_SETFD, FD_CLOEXEC);
    Exec(request);
  }
  const unsigned agent = request.Number("agent_uid"), user = request.Number("user_uid");

  if (agent != 0) {
    launch::StageMounts(request);
    const int userns = launch::MakeUserNamespace(agent, user);
    if (userns != launch::kUsernsFd) {
      if (dup2(userns, launch::kUsernsFd) < 0) launch::Fail("dup2");
      close(userns);
    } else {
      fcntl(userns, F_SETFD, 0);
    }
  }

  return Start(request, agent);
}

// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/bubblewrap/launch/request.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/process.h"

namespace csb::bwrap {
namespace {

constexpr int kAboveShared = 10;  // so that dup2 to the shared numbers never hits a source

class RequestText {
 public:
  void Add(const char* key, const std::string& value) {
    text_.append(key).append("=").append(value).push_back('\0');
  }
  void Add(const char* key, uint64_t value) { Add(key, std::to_string(value)); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string BuildRequest(const LaunchSpec& spec) {
  RequestText request;
  if (spec.uids) {
    request.Add("agent_uid", spec.uids->agent);
    request.Add("user_uid", spec.uids->user);
    request.Add("agent", spec.agent);
    request.Add("control", spec.control);
    request.Add("etc", spec.etc);
    request.Add("workspace", spec.workspace);
    if (!spec.image.empty()) request.Add("image", spec.image);
  }
  for (const RlimitSpec& limit : spec.rlimits)
    request.Add("rlimit", std::to_string(limit.resource) + ":" + std::to_string(limit.soft) + ":" +
                              std::to_string(limit.hard));
  if (spec.before_command) request.Add("block", uint64_t{1});
  for (const std::string& arg : spec.command) request.Add("arg", arg);
  return request.text();
}

Result<UniqueFd> High(int fd) {
  UniqueFd low(fd);
  UniqueFd high(fcntl(fd, F_DUPFD_CLOEXEC, kAboveShared));
  if (!high) return ErrnoError("fcntl(F_DUPFD_CLOEXEC)");
  return high;
}

Result<UniqueFd> MemoryFile(const char* name, const std::string& content) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC));
  if (!fd) return ErrnoError("memfd_create", name);
  if (write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return ErrnoError("write", name);
  if (lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoError("lseek", name);
  return High(fd.release());
}

struct Pipe {
  UniqueFd read, write;
};
Result<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe2");
  Pipe pipe;
  pipe.read.reset(ends[0]);
  auto high = High(ends[1]);
  if (!high) return high.error();
  pipe.write = *std::move(high);
  fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK);
  return pipe;
}

// Sockets where this process writes: to one that has ended it is an error, and no SIGPIPE.
struct Sockets {
  UniqueFd ours, theirs;
};
Result<Sockets> MakeSockets() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return ErrnoError("socketpair");
  Sockets sockets;
  sockets.ours.reset(ends[0]);
  auto high = High(ends[1]);
  if (!high) return high.error();
  sockets.theirs = *std::move(high);
  return sockets;
}

Result<pid_t> Spawn(const std::string& program, const std::vector<std::string>& arguments, int request,
                    int report, int seccomp, int block, int complaints) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, complaints, 2);
  posix_spawn_file_actions_adddup2(&actions, request, launch::kRequestFd);
  posix_spawn_file_actions_adddup2(&actions, report, launch::kReportFd);
  posix_spawn_file_actions_adddup2(&actions, seccomp, launch::kSeccompFd);
  posix_spawn_file_actions_adddup2(&actions, block, launch::kBlockFd);
  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environment);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    Error out = ErrnoError("start", program, error);
    out.hint = "set bubblewrap.launcher to the path of clara-sandbox-launch";
    return out;
  }
  return pid;
}

// Everything until the other side has closed, which it has soon: bwrap writes before it mounts.
Result<std::string> ReadReport(int fd, std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  std::string text;
  char buffer[4096];
  while (text.size() < (64 << 10)) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n == 0) return text;
    if (n > 0) {
      text.append(buffer, static_cast<size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return ErrnoError("read", "the launcher's report");
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd wait{fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&wait, 1, static_cast<int>(left.count())) == 0)
      return Error{CSB_E_UNAVAILABLE,
                   "the sandbox did not start within " + std::to_string(timeout.count()) + " ms",
                   "the machine may be overloaded; try again", true};
  }
  return Error{CSB_E_INTERNAL, "the launcher's report is too long", "", false};
}

void Reap(pid_t pid, bool kill_first) {
  if (kill_first) kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Error Explain(std::string what, const std::string& complaints) {
  if (!what.empty() && what.front() == '!') what.erase(0, 1);
  while (!what.empty() && what.back() == '\n') what.pop_back();
  Error error{CSB_E_UNAVAILABLE, "could not start the sandbox: " + what, "", false};
  if (!complaints.empty()) error.message += (what.empty() ? "" : "; ") + complaints;
  const auto says = [&](const char* text) { return error.message.find(text) != std::string::npos; };
  if (says("Creating new namespace failed") || says("setting up uid map") || says("No permissions to create"))
    error.hint =
        "this system forbids user namespaces: load the AppArmor profile (script/run installs it), or set "
        "kernel.unprivileged_userns_clone=1 and user.max_user_namespaces above 0";
  else if (says("Can't mount proc"))
    error.hint =
        "a container that masks /proc can't nest sandboxes: run it with an unmasked /proc "
        "(docker: --security-opt systempaths=unconfined)";
  else if (says("mount / as slave") || says("unshare(CLONE_NEWUSER)"))
    error.hint =
        "no user namespace can be made here: set user.max_user_namespaces above 0; in a chroot the kernel "
        "makes none "
        "(user_namespaces(7)), so use pivot_root or a container instead";
  else if (says("loop"))
    error.hint =
        "no loop devices here: set bubblewrap.disk=unlimited and allow it, or give the host "
        "/dev/loop-control";
  return error;
}

Status ParseReport(const std::string& report, Launched* out) {
  const size_t line = report.find('\n');
  if (report.compare(0, 8, "monitor ") != 0 || line == std::string::npos)
    return Explain(utf8::Clean(report), "");
  out->monitor = static_cast<pid_t>(strtol(report.c_str() + 8, nullptr, 10));
  const size_t complaint = report.find("\n!");
  if (complaint != std::string::npos) return Explain(utf8::Clean(report.substr(complaint + 2)), "");
  const auto info = json::ParseObject(std::string_view(report).substr(line + 1));
  if (info) out->init = static_cast<pid_t>(json::GetInt(*info, "child-pid").value_or(0));
  if (out->monitor <= 1 || out->init <= 1) return Explain("", "");
  return {};
}

// bwrap may still be writing why; its end closes the pipe.
Error ExplainEnd(const std::string& what, int complaints) {
  pollfd wait{complaints, POLLIN, 0};
  poll(&wait, 1, 1000);
  return Explain(what, ReadComplaints(complaints));
}

}  // namespace

std::string ReadComplaints(int fd) {
  char buffer[2048];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  if (n <= 0) return {};
  std::string text = utf8::Clean({buffer, static_cast<size_t>(n)});
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

LaunchSlot::LaunchSlot(LaunchSlot&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      request_(std::move(other.request_)),
      report_(std::move(other.report_)),
      complaints_(std::move(other.complaints_)),
      block_(std::move(other.block_)) {}

LaunchSlot& LaunchSlot::operator=(LaunchSlot&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(request_, other.request_);
  std::swap(report_, other.report_);
  std::swap(complaints_, other.complaints_);
  std::swap(block_, other.block_);
  return *this;
}

LaunchSlot::~LaunchSlot() {
  if (pid_ == 0) return;
  request_.reset();  // an empty request: it ends
  Reap(pid_, false);
}

Result<LaunchSlot> LaunchSlot::Start(const std::string& program, const std::string& seccomp,
                                     const std::vector<std::string>& cgroup_procs) {
  auto filter = MemoryFile("seccomp", seccomp);
  if (!filter) return filter.error();
  auto report = MakePipe();
  if (!report) return report.error();
  auto complaints = MakePipe();
  if (!complaints) return complaints.error();
  auto block = MakeSockets();
  if (!block) return block.error();
  auto request = MakeSockets();
  if (!request) return request.error();
  auto pid = Spawn(program, cgroup_procs, request->theirs.get(), report->write.get(), filter->get(),
                   block->theirs.get(), complaints->write.get());
  if (!pid) return pid.error();
  LaunchSlot slot;
  slot.pid_ = *pid;
  slot.request_ = std::move(request->ours);
  slot.report_ = std::move(report->read);
  slot.complaints_ = std::move(complaints->read);
  slot.block_ = std::move(block->ours);
  return slot;
}

Result<Launched> LaunchSlot::Go(const LaunchSpec& spec) {
  std::string_view request_text;
  const std::string request = BuildRequest(spec);
  for (request_text = request; !request_text.empty();) {
    // It only fails when the launcher has ended; the report then says why.
    const ssize_t n = send(request_.get(), request_text.data(), request_text.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    request_text.remove_prefix(static_cast<size_t>(n));
  }
  request_.reset();
  auto text = ReadReport(report_.get(), spec.timeout);
  Reap(std::exchange(pid_, 0), !text);

  Launched out;
  out.complaints = std::move(complaints_);
  if (!text) return text.error();
  const int complaints = out.complaints.get();
  if (Status s = ParseReport(*text, &out); !s) {
    const std::string message = s.error().message;
    return ExplainEnd(message.substr(message.find(": ") + 2), complaints);
  }
  if (auto fd = Pidfd::Open(out.monitor)) out.monitor_fd = *std::move(fd);
  if (auto fd = Pidfd::Open(out.init)) out.init_fd = *std::move(fd);
  // The pid could have been reused only if bwrap had ended; then the pidfd is of no child of it.
  if (!out.monitor_fd || !out.init_fd || ParentOf(out.init) != out.monitor)
    return ExplainEnd("it ended at once", complaints);
  if (spec.before_command) {
    Status ready = spec.before_command(out.init);
    const char go = 1;
    // It mounts before it waits: where that has failed, nothing of it is left to be prepared or to go on.
    if (ready && send(block_.get(), &go, 1, MSG_NOSIGNAL) != 1)
      return ExplainEnd("it ended at once", complaints);
    if (!ready && out.init_fd.Ended()) return ExplainEnd("it ended at once", complaints);
    if (!ready) {
      if (Status s = out.init_fd.Signal(SIGKILL); !s) return s.error();
      return ready.error();
    }
  }
  return out;
}

}  // namespace csb::bwrap

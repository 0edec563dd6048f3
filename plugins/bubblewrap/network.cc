// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/network.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/utf8.h"
#include "plugins/bubblewrap/launch/request.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

// TEST-NET-2, which is nobody's; pasta takes name queries to it to the host's name server.
constexpr char kDnsAddress[] = "198.51.100.53";
constexpr int kAboveShared = 10;

std::vector<std::string> PastaCommand(const std::string& pasta, pid_t init, const UidPair& uids,
                                      const std::string& pid_file) {
  const std::string proc = "/proc/" + std::to_string(init);
  std::vector<std::string> words = {pasta,
                                    "--config-net",
                                    "--quiet",
                                    "--no-map-gw",
                                    "-t",
                                    "none",
                                    "-u",
                                    "none",
                                    "-T",
                                    "none",
                                    "-U",
                                    "none",
                                    "--dns-forward",
                                    kDnsAddress,
                                    "--pid",
                                    pid_file,
                                    "--userns",
                                    proc + "/ns/user",
                                    "--netns",
                                    proc + "/ns/net"};
  if (uids.agent != 0) {
    const std::string id = std::to_string(uids.agent);
    words.insert(words.end(), {"--runas", id + ":" + id});
  }
  return words;
}

std::string BuildRequest(const std::vector<std::string>& words, const UidPair& uids) {
  std::string text = std::string("direct=1") + '\0';
  if (uids.agent != 0) text += "tun_owner=" + std::to_string(uids.agent) + '\0';
  for (const std::string& word : words) text += "arg=" + word + '\0';
  return text;
}

Result<UniqueFd> High(int fd) {
  UniqueFd low(fd);
  UniqueFd high(fcntl(fd, F_DUPFD_CLOEXEC, kAboveShared));
  if (!high) return ErrnoError("fcntl(F_DUPFD_CLOEXEC)");
  return high;
}

Result<pid_t> Spawn(const std::string& launcher, int request, int say) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, say, 2);
  posix_spawn_file_actions_adddup2(&actions, request, launch::kRequestFd);
  posix_spawn_file_actions_adddup2(&actions, say, launch::kReportFd);
  std::string name = launcher;
  char* argv[] = {name.data(), nullptr};
  char* environment[] = {nullptr};
  pid_t child = 0;
  const int error = posix_spawn(&child, launcher.c_str(), &actions, nullptr, argv, environment);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoError("start", launcher, error);
  return child;
}

// Empty; pasta writes the pid of the process that stays into it.
class PidFile {
 public:
  static Result<PidFile> Make(const UidPair& uids) {
    PidFile file;
    UniqueFd fd(mkostemp(file.path_.data(), O_CLOEXEC));
    if (!fd) return ErrnoError("mkostemp", file.path_);
    file.made_ = true;
    if (uids.agent != 0 && fchown(fd.get(), uids.agent, uids.agent) != 0)
      return ErrnoError("fchown", file.path_);
    return file;
  }
  PidFile(PidFile&& other) noexcept : path_(other.path_), made_(std::exchange(other.made_, false)) {}
  ~PidFile() {
    if (made_) unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  PidFile() = default;
  std::string path_ = "/tmp/clara-sandbox-pasta-XXXXXX";
  bool made_ = false;
};

}  // namespace

std::string PastaResolvConf() { return std::string("nameserver ") + kDnsAddress + "\noptions edns0\n"; }

Result<ProcessId> StartPasta(const PastaPrograms& programs, pid_t init, const UidPair& uids) {
  auto pid_file = PidFile::Make(uids);
  if (!pid_file) return pid_file.error();
  const std::string text = BuildRequest(PastaCommand(programs.pasta, init, uids, pid_file->path()), uids);
  auto request = High(memfd_create("request", MFD_CLOEXEC));
  if (!request) return request.error();
  if (write(request->get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return ErrnoError("write", "request");
  if (lseek(request->get(), 0, SEEK_SET) != 0) return ErrnoError("lseek", "request");
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe2");
  const UniqueFd said(ends[0]);
  auto say = High(ends[1]);
  if (!say) return say.error();
  auto child = Spawn(programs.launcher, request->get(), say->get());
  say->reset();
  if (!child) return child.error();
  // It goes to the background once the interface is configured.
  int status = 0;
  while (waitpid(*child, &status, 0) < 0 && errno == EINTR) {
  }
  const auto written = ReadSmallFile(pid_file->path());
  const auto pid = written ? ParseCount(*written) : std::nullopt;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && pid)
    if (auto id = Identify(static_cast<pid_t>(*pid))) return *id;
  char reason[1024];
  fcntl(said.get(), F_SETFL, O_NONBLOCK);
  const ssize_t n = read(said.get(), reason, sizeof reason);
  return Error{
      CSB_E_UNAVAILABLE,
      "pasta could not connect the sandbox: " + utf8::Clean({reason, n > 0 ? static_cast<size_t>(n) : 0}),
      "is passt installed, and has the host a default route? bubblewrap.network=none does without", true};
}

}  // namespace csb::bwrap

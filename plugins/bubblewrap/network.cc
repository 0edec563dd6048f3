// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/network.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "clara_sandbox/cpp/utf8.h"
#include "plugins/bubblewrap/small_file.h"
#include "plugins/common/errno_error.h"

namespace csb::bwrap {
namespace {

// An address of no network; pasta takes name queries to it to the host's name server.
constexpr char kDnsAddress[] = "169.254.1.53";

}  // namespace

std::string PastaResolvConf() { return std::string("nameserver ") + kDnsAddress + "\noptions edns0\n"; }

Result<ProcessId> StartPasta(const std::string& program, pid_t init, const UidPair& uids) {
  const std::string pid_file = "/proc/" + std::to_string(init);
  std::string pid_path = "/tmp/csb-pasta-XXXXXX";
  const int pid_fd = mkostemp(pid_path.data(), O_CLOEXEC);
  if (pid_fd < 0) return ErrnoError("mkostemp", pid_path);
  const UniqueFd pid_file_fd(pid_fd);
  std::vector<std::string> words = {program,
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
                                    pid_path,
                                    "--userns",
                                    pid_file + "/ns/user",
                                    "--netns",
                                    pid_file + "/ns/net"};
  if (uids.agent != 0) {
    const std::string id = std::to_string(uids.agent);
    if (fchown(pid_fd, uids.agent, uids.agent) != 0) return ErrnoError("fchown", pid_path);
    words.insert(words.begin() + 1, {"--runas", id + ":" + id});
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe2");
  const UniqueFd said(ends[0]);
  UniqueFd say(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, say.get(), 2);
  pid_t child = 0;
  const int error = posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environment);
  posix_spawn_file_actions_destroy(&actions);
  say.reset();
  if (error != 0) {
    unlink(pid_path.c_str());
    Error out = ErrnoError("start", program, error);
    out.hint = "install the package passt, or set bubblewrap.network=none";
    return out;
  }
  // It goes to the background once the interface is configured.
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const auto written = ReadSmallFile(pid_path);
  unlink(pid_path.c_str());
  const auto pid = written ? ParseCount(*written) : std::nullopt;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && pid)
    if (auto id = Identify(static_cast<pid_t>(*pid))) return *id;
  char text[1024];
  fcntl(said.get(), F_SETFL, O_NONBLOCK);
  const ssize_t n = read(said.get(), text, sizeof text);
  return Error{
      CSB_E_UNAVAILABLE,
      "pasta could not connect the sandbox: " + utf8::Clean({text, n > 0 ? static_cast<size_t>(n) : 0}),
      "does the host have a default route? bubblewrap.network=none does without", true};
}

}  // namespace csb::bwrap

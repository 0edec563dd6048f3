// SPDX-License-Identifier: Apache-2.0
#include "bench/measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

extern char** environ;

namespace csb::bench {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

double FieldKiB(const std::string& text, std::string_view name) {
  const size_t at = text.find(name);
  return at == std::string::npos ? 0 : strtod(text.c_str() + at + name.size(), nullptr);
}

}  // namespace

double Samples::Quantile(double q) const {
  if (values_.empty()) return NAN;
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  const auto at = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::min(sorted.size() - 1, at == 0 ? 0 : at - 1)];
}

double NowMs() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

int Spawn(const std::vector<std::string>& argv) {
  std::vector<char*> args;
  for (const auto& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd)
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
  pid_t pid = -1;
  const int rc = posix_spawnp(&pid, args[0], &actions, nullptr, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (rc != 0 || waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

double SpawnMs(const std::vector<std::string>& argv) {
  const double start = NowMs();
  Spawn(argv);
  return NowMs() - start;
}

double CpuSeconds(pid_t pid) {
  const std::string stat = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  const size_t after_name = stat.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(stat.substr(after_name + 2));
  std::string skip;
  for (int i = 0; i < 11; ++i) fields >> skip;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void WaitUntilIdle(pid_t pid) {
  const double end = NowMs() + 20'000;
  for (double before = CpuSeconds(pid); NowMs() < end;) {
    poll(nullptr, 0, 500);
    const double now = CpuSeconds(pid);
    if (now - before < 0.01) return;
    before = now;
  }
}

double PssMiB(pid_t pid) {
  return FieldKiB(ReadFile("/proc/" + std::to_string(pid) + "/smaps_rollup"), "\nPss:") / 1024;
}
double PeakRssMiB(pid_t pid) {
  return FieldKiB(ReadFile("/proc/" + std::to_string(pid) + "/status"), "VmHWM:") / 1024;
}
double RssMiB(pid_t pid) {
  return FieldKiB(ReadFile("/proc/" + std::to_string(pid) + "/status"), "VmRSS:") / 1024;
}
void ResetPeakRss(pid_t pid) { std::ofstream("/proc/" + std::to_string(pid) + "/clear_refs") << "5"; }

std::vector<pid_t> SandboxProcesses(std::string_view folder) {
  std::vector<pid_t> found;
  DIR* dir = opendir("/proc");
  if (dir == nullptr) return found;
  while (const dirent* entry = readdir(dir)) {
    pid_t pid = 0;
    const std::string_view name(entry->d_name);
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc()) continue;
    std::istringstream mounts(ReadFile("/proc/" + std::string(name) + "/mountinfo"));
    for (std::string line; std::getline(mounts, line);) {
      if (line.find(folder) == std::string::npos || line.find(" /run/clara/ctl ") == std::string::npos)
        continue;
      found.push_back(pid);
      // The monitor that bwrap leaves outside is the parent of the sandbox's init.
      const std::string stat = ReadFile("/proc/" + std::string(name) + "/stat");
      const auto parent = static_cast<pid_t>(strtol(stat.c_str() + stat.rfind(')') + 4, nullptr, 10));
      if (ReadFile("/proc/" + std::to_string(parent) + "/comm") == "bwrap\n") found.push_back(parent);
      break;
    }
  }
  closedir(dir);
  return found;
}

}  // namespace csb::bench

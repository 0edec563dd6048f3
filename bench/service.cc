// SPDX-License-Identifier: Apache-2.0
#include "bench/service.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "bench/http_client.h"
#include "bench/measure.h"

namespace csb::bench {
namespace {

uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) return 0;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return ntohs(address.sin_port);
}

bool IsTmpfs(const char* folder) {
  struct statfs info {};
  return statfs(folder, &info) == 0 && info.f_type == TMPFS_MAGIC;
}

}  // namespace

Service::Service(const std::string& binary, const std::string& backend,
                 const std::vector<std::string>& options) {
  char name[] = "/tmp/clara-sandbox-bench-XXXXXX";
  if (mkdtemp(name) == nullptr) {
    perror("mkdtemp");
    exit(1);
  }
  folder_ = name;
  chmod(name, 0711);  // sandboxes run as users of their own
  // The default, /run, is a tmpfs on every system that systemd runs; measure on one where it is not, too.
  runtime_ = folder_ + "/run";
  for (const char* parent : {"/run", "/dev/shm"}) {
    if (!IsTmpfs(parent)) continue;
    runtime_ = std::string(parent) + "/" + this->name();
    break;
  }
  port_ = FreePort();
  std::vector<std::string> argv = {binary,
                                   "serve",
                                   "--http.host=127.0.0.1",
                                   "--http.port=" + std::to_string(port_),
                                   "--http.rate_limit=0",
                                   "--http.max_connections=2000",
                                   "--http.max_connections_per_address=2000",
                                   "--sandbox.max_sandboxes=5000",
                                   "--sandbox.mode=" + backend,
                                   "--sandbox.state_dir=" + folder_ + "/state",
                                   "--sandbox.runtime_dir=" + runtime_,
                                   "--log.level=warn"};
  // Engines keep workspaces in volumes, unless a folder is named.
  if (backend == "bubblewrap") argv.push_back("--sandbox.data_dir=" + folder_ + "/data");
  argv.insert(argv.end(), options.begin(), options.end());
  pid_ = fork();
  if (pid_ == 0) {
    std::vector<char*> args;
    for (const auto& a : argv) args.push_back(const_cast<char*>(a.c_str()));
    args.push_back(nullptr);
    const int log = open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    dup2(log, 2);
    execv(args[0], args.data());
    _exit(127);
  }
  const double start = NowMs();
  HttpReply health;
  while (NowMs() - start < 15000) {
    health = HttpClient(port_).Get("/health");
    if (health.status == 200) return;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      break;
    }
    poll(nullptr, 0, 20);  // there is no event for another process's bind
  }
  fprintf(stderr, "clara-sandbox serve did not get healthy: %s\nits log:\n", health.body.c_str());
  if (FILE* log = fopen((folder_ + "/log").c_str(), "r")) {
    char line[4096];
    while (fgets(line, sizeof line, log) != nullptr) fputs(line, stderr);
    fclose(log);
  }
  End();
  exit(1);
}

Service::~Service() { End(); }

void Service::End() {
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  for (const std::string& folder : {runtime_, folder_}) {
    std::error_code failed;
    std::filesystem::remove_all(folder, failed);
    if (failed) fprintf(stderr, "left behind: %s (%s)\n", folder.c_str(), failed.message().c_str());
  }
}

}  // namespace csb::bench

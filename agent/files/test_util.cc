// SPDX-License-Identifier: Apache-2.0
#include "agent/files/test_util.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace csb::agent {
namespace {

namespace fs = std::filesystem;
// As root the child becomes somebody, so that rights mean something.
constexpr uid_t kUser = 61234;

struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    read = ends[0];
    write = ends[1];
  }
  int read, write;
};

void Become() {
  if (geteuid() != 0) return;
  if (setgroups(0, nullptr) != 0 || setgid(kUser) != 0 || setuid(kUser) != 0) _exit(99);
}

// Feeds `input` and collects three streams at once, as the agent does.
std::array<std::string, 3> Pump(int in, const RunOptions& options, std::array<int, 3> outs, pid_t child) {
  std::array<std::string, 3> got;
  std::string_view input = options.input;
  bool open_in = true;
  int left = options.kill_after_ms > 0 ? options.kill_after_ms : -1;
  while (true) {
    if (open_in && input.empty() && options.end_of_input) {
      close(in);
      open_in = false;
    }
    std::array<pollfd, 4> polls{};
    for (size_t i = 0; i < 3; ++i) polls[i] = {outs[i], POLLIN, 0};
    polls[3] = {open_in && !input.empty() ? in : -1, POLLOUT, 0};
    if (std::all_of(outs.begin(), outs.end(), [](int fd) { return fd < 0; })) break;
    const int ready = poll(polls.data(), polls.size(), left);
    if (ready == 0) {
      kill(child, SIGKILL);
      left = -1;
      continue;
    }
    for (size_t i = 0; i < 3; ++i) {
      if (polls[i].revents == 0) continue;
      char buffer[65536];
      const ssize_t n = read(outs[i], buffer, sizeof buffer);
      if (n > 0) {
        got[i].append(buffer, static_cast<size_t>(n));
      } else {
        close(outs[i]);
        outs[i] = -1;
      }
    }
    if (polls[3].revents != 0) {
      const ssize_t n = write(in, input.data(), std::min<size_t>(input.size(), 65536));
      if (n > 0)
        input.remove_prefix(static_cast<size_t>(n));
      else
        input = {};
    }
  }
  if (open_in) close(in);
  return got;
}

void ParseLines(const std::string& text, Outcome* outcome) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    auto line = json::ParseObject(std::string_view(text).substr(begin, end - begin));
    if (!line) throw std::runtime_error("bad line: " + text.substr(begin, end - begin));
    if (json::Find(*line, "event") != nullptr) outcome->meta = json::ToString(*json::Find(*line, "data"));
    if (const auto code = json::GetInt(*line, "code")) {
      outcome->code = static_cast<int>(*code);
      outcome->message = json::GetString(*line, "message").value_or("");
      outcome->hint = json::GetString(*line, "hint").value_or("");
      if (const json::Value* result = json::Find(*line, "result"))
        outcome->result.CopyFrom(*result, outcome->result.GetAllocator());
    }
    if (end == std::string::npos) break;
    begin = end + 1;
  }
}

}  // namespace

Workspace::Workspace() {
  char name[] = "/tmp/csb-files-XXXXXX";
  if (mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = name;
  if (geteuid() == 0 && chown(name, kUser, kUser) != 0) throw std::runtime_error("chown");
}
Workspace::~Workspace() {
  std::error_code ignored;  // a test that took its own rights away has given them back
  fs::remove_all(path_, ignored);
}
void Workspace::Write(const std::string& name, const std::string& content) const {
  fs::create_directories(fs::path(At(name)).parent_path());
  std::ofstream(At(name), std::ios::binary) << content;
  if (geteuid() != 0) return;
  for (fs::path p = At(name); p != path_; p = p.parent_path())
    if (lchown(p.c_str(), kUser, kUser) != 0) throw std::runtime_error("lchown");
}
std::string Workspace::Read(const std::string& name) const {
  std::ifstream file(At(name), std::ios::binary);
  if (!file) return "<missing>";
  return {std::istreambuf_iterator<char>(file), {}};
}
bool Workspace::Exists(const std::string& name) const {
  struct stat st;
  return lstat(At(name).c_str(), &st) == 0;
}
std::vector<std::string> Workspace::Tree() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(path_))
    names.push_back(entry.path().string().substr(path_.size() + 1));
  std::sort(names.begin(), names.end());
  return names;
}

Outcome RunBody(const Workspace& ws, const Body& body, const std::string& args, const RunOptions& options) {
  auto doc = json::ParseObject(args);
  if (!doc) throw std::runtime_error("bad args: " + args);
  Pipe in, out, err, result;
  const pid_t child = fork();
  if (child == 0) {
    for (const int fd : {in.write, out.read, err.read, result.read}) close(fd);
    Become();
    _exit(body(*doc, {in.read, out.write, err.write, result.write, ws.path()}));
  }
  signal(SIGPIPE, SIG_IGN);
  for (const int fd : {in.read, out.write, err.write, result.write}) close(fd);
  auto got = Pump(in.write, options, {out.read, err.read, result.read}, child);
  Outcome outcome;
  int status = 0;
  if (waitpid(child, &status, 0) == child)
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = std::move(got[0]);
  outcome.err = std::move(got[1]);
  ParseLines(got[2], &outcome);
  return outcome;
}

Outcome Do(const Workspace& ws, const std::string& op, const std::string& args, const RunOptions& options) {
  return RunBody(
      ws, [&](const json::Value& a, const FileTaskIo& io) { return RunFileTask(op, a, io); }, args, options);
}

std::string TextOf(const Outcome& outcome, const char* member) {
  return std::string(json::GetString(outcome.result, member).value_or(""));
}
int64_t NumberOf(const Outcome& outcome, const char* member) {
  return json::GetInt(outcome.result, member).value_or(-1);
}

}  // namespace csb::agent

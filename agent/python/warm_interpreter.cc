// SPDX-License-Identifier: Apache-2.0
#include "agent/python/warm_interpreter.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "agent/base/log.h"
#include "agent/base/loop.h"
#include "agent/process/lineage.h"
#include "agent/python/sources.h"

namespace csb::agent {
namespace {

// A fork takes a few ms; a run that waited longer would have been faster without.
constexpr int64_t kPatience = 100 * kMs;
// What a socket of this kind takes in one message with the kernel's default sizes.
constexpr size_t kMaxRequest = 100 << 10;

}  // namespace

void WarmInterpreter::Start(const StartSpec& spec) {
  if (alive() || failures_ >= kMaxFailures) return;
  // Counts until it has come up.
  ++failures_;
  next_ = run_ = -1;
  ordered_ = ready_ = left_ = was_ready_ = false;
  folder_.Remove();
  if (folder_.Create(identity_, "sitecustomize.py", kWarmSource) != 0) return folder_.Remove();
  int control[2], orders[2], nowhere[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0) return;
  control_.Reset(control[0]);
  const Fd their_control(control[1]);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0) return;
  orders_.Reset(orders[0]);
  const Fd their_orders(orders[1]);
  // Its stderr is what a run's is, a pipe, so that the interpreter makes the same stream of it.
  if (pipe2(nowhere, O_CLOEXEC) < 0) return;
  const Fd read_end(nowhere[0]), write_end(nowhere[1]);
  const int on = 1;
  if (setsockopt(control_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0) return;

  StartSpec interpreter;
  const std::string folder = folder_.path().substr(0, folder_.path().rfind('/'));
  interpreter.argv = {spec.argv[0], folder + "/" + spec.code_name};
  interpreter.env = spec.warm_env;
  interpreter.env.push_back("PYTHONPATH=" + folder);
  interpreter.cwd = "/";
  const SpawnResult child =
      SpawnProgram(interpreter, identity_, {their_control.get(), their_orders.get(), write_end.get(), -1});
  if (child.pid < 0) return folder_.Remove();
  pid_ = child.pid;
  key_ = spec.warm_env;
  key_.push_back(spec.argv[0]);
  Order();
}

bool WarmInterpreter::Serves(const StartSpec& spec) const {
  if (!alive() || spec.warm_env.empty() || spec.argv.empty()) return false;
  if (key_.size() != spec.warm_env.size() + 1 || key_.back() != spec.argv[0]) return false;
  for (size_t i = 0; i < spec.warm_env.size(); ++i)
    if (key_[i] != spec.warm_env[i]) return false;
  size_t size = spec.cwd.size() + 32;
  for (const auto* list : {&spec.argv, &spec.env})
    for (const auto& text : *list) size += text.size() + 1;
  return size <= kMaxRequest;
}

void WarmInterpreter::Order() {
  ready_ = left_ = false;
  next_ = -1;
  ordered_ = send(orders_.get(), "n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

bool WarmInterpreter::Await() {
  Receive();
  // It still loads what it is to have loaded.
  if (!was_ready_ && !(ready_ && left_)) return false;
  const int64_t end = NowNs() + kPatience;
  while (alive() && ordered_ && !(ready_ && left_)) {
    const int64_t left = (end - NowNs()) / kMs;
    pollfd fds[2] = {{control_.get(), POLLIN, 0}, {orders_.get(), POLLIN, 0}};
    if (left <= 0 || (poll(fds, 2, static_cast<int>(left)) < 0 && errno != EINTR)) break;
    if ((fds[0].revents | fds[1].revents) & (POLLHUP | POLLERR)) break;
    Receive();
  }
  if (ready_ && left_) return true;
  Drop();
  return false;
}

pid_t WarmInterpreter::Launch(const StartSpec& spec, const ChildStdio& stdio) {
  if (folder_.Replace(spec.code_name, spec.code) != 0) {
    Drop();
    return -1;
  }
  std::string request = spec.cwd;
  const auto add = [&](std::string_view text) { request.append(1, '\0').append(text); };
  // argv: the interpreter, its program's file, then the arguments.
  add(std::to_string(spec.argv.size() - 2));
  for (size_t i = 2; i < spec.argv.size(); ++i) add(spec.argv[i]);
  for (const auto& entry : spec.env) add(entry);
  const int fds[3] = {stdio.in, stdio.out, stdio.err};
  iovec io{request.data(), request.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)]{};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(header), fds, sizeof fds);
  begun_ = Begun::kNotYet;
  drop_after_ = spec.long_lived != 0;
  if (sendmsg(control_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    Drop();
    return -1;
  }
  run_ = std::exchange(next_, -1);
  ordered_ = ready_ = left_ = false;
  return run_;
}

void WarmInterpreter::Receive() {
  ReceiveOrders();
  for (;;) {
    char text[32];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int) * 4)];
    iovec io{text, sizeof text};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(control_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    pid_t from = -1;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET) continue;
      if (c->cmsg_type == SCM_CREDENTIALS) {
        ucred credentials;
        std::memcpy(&credentials, CMSG_DATA(c), sizeof credentials);
        from = credentials.pid;
      } else if (c->cmsg_type == SCM_RIGHTS) {  // nothing of ours sends any
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
          int fd;
          std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
          close(fd);
        }
      }
    }
    Say({text, static_cast<size_t>(size)}, from);
  }
}

void WarmInterpreter::ReceiveOrders() {
  char text;
  while (recv(orders_.get(), &text, 1, MSG_DONTWAIT) == 1)
    if (text == 'f' && ordered_) left_ = true;
}

void WarmInterpreter::Say(std::string_view text, pid_t from) {
  if (from <= 0) return;
  if (text == "born" && ordered_ && next_ < 0) {
    next_ = from;
    if (send(orders_.get(), "g", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) Drop();
  } else if (text == "ready" && from == next_) {
    ready_ = was_ready_ = true;
    failures_ = 0;
  } else if (from == run_ && begun_ == Begun::kNotYet) {
    if (text == "ok") {
      begun_ = Begun::kYes;
      // Made while the code runs: the next one often follows at once.
      if (drop_after_)
        Drop();
      else
        Order();
    } else if (text == "stale") {
      begun_ = Begun::kStale;
    } else if (text.starts_with("cwd ")) {
      begun_ = Begun::kNoFolder;
      std::from_chars(text.data() + 4, text.data() + text.size(), folder_error_);
    }
  }
}

void WarmInterpreter::Finish() {
  run_ = -1;
  if (!alive())
    folder_.Remove();
  else if (!folder_.Clear())
    Drop();
}

void WarmInterpreter::Reaped(pid_t pid) {
  if (pid <= 0) return;
  if (pid == next_) {
    next_ = -1;
    ready_ = ordered_ = false;
    Drop();
  } else if (pid == pid_) {
    pid_ = -1;
    if (next_ > 0) kill(next_, SIGKILL);
    next_ = -1;
    ordered_ = ready_ = false;
    control_.Reset();
    orders_.Reset();
    // A run that goes on without it may not have opened its code yet.
    if (run_ < 0) folder_.Remove();
  }
}

void WarmInterpreter::Drop() {
  if (!alive()) return;
  // With what it forks at the moment: a process that user code has stopped would hold it up.
  Sweeper sweeper;
  sweeper.Sweep(pid_);
  kill(pid_, SIGKILL);
  if (next_ > 0) kill(next_, SIGKILL);
  next_ = -1;
  ordered_ = ready_ = false;
}

}  // namespace csb::agent

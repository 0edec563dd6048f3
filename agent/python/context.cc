// SPDX-License-Identifier: Apache-2.0
#include "agent/python/context.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "agent/base/instant.h"
#include "agent/python/sources.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

constexpr size_t kSlice = 32 << 10;
constexpr size_t kMaxLine = 1100 << 10;  // one result; what is longer is the fault of who wrote it
constexpr size_t kLate = 64 << 10;
// From KeyboardInterrupt to the end of everything: code that handles it may save what it has.
constexpr int64_t kGrace = 2 * kSecond;
constexpr int64_t kClosed = 200 * kMs;

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

Error Failed(const char* what) {
  const int error = errno;
  if (error == EMFILE || error == ENFILE)
    return {CSB_E_NO_CAPACITY, std::string(what) + ": file descriptors exhausted in the sandbox",
            "end some of the running commands", true};
  return {CSB_E_IO, std::string(what) + ": " + strerror(error), "", true};
}

std::string HowItEnded(const Report& report) {
  if (report.stage != Stage::kNone) return std::string("it could not be started: ") + strerror(report.error);
  if (WIFSIGNALED(report.wait_status)) {
    const int number = WTERMSIG(report.wait_status);
    const char* name = sigdescr_np(number);
    return "it was ended by signal " + std::to_string(number) + (name ? std::string(" (") + name + ")" : "");
  }
  return "its process ended with exit code " + std::to_string(WEXITSTATUS(report.wait_status));
}

}  // namespace

Context::Context(Loop& loop, SupervisorPool& pool, std::string name, std::function<void()> died)
    : loop_(loop),
      pool_(pool),
      name_(std::move(name)),
      died_(std::move(died)),
      grace_(loop, [this] { Kill("it did not react to an interrupt, so its state is lost"); }),
      closed_(loop, [this] { Kill("it closed the connection that it is served by"); }),
      created_ms_(WallMs()),
      used_ms_(created_ms_) {
  out_.stream = CSB_STREAM_STDOUT;
  err_.stream = CSB_STREAM_STDERR;
  out_.late = err_.late = TailBuffer(kLate);
}

Status Context::Start(const CommandSettings& settings) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", kContextSource);
  w.EndObject();
  const auto args = json::ParseObject({buffer.GetString(), buffer.GetSize()});
  if (!args) return args.error();
  auto command = PrepareCommand("execute", *args, settings);
  if (!command) return command.error();
  command->spec.long_lived = 1;

  int control[2], out[2], err[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0)
    return Failed("cannot make a socket for an interpreter");
  control_.Reset(control[0]);
  const Fd their_control(control[1]);
  if (pipe2(out, O_CLOEXEC) < 0) return Failed("cannot make a pipe for an interpreter");
  out_.fd.Reset(out[0]);
  const Fd their_out(out[1]);
  if (pipe2(err, O_CLOEXEC) < 0) return Failed("cannot make a pipe for an interpreter");
  err_.fd.Reset(err[0]);
  const Fd their_err(err[1]);
  for (const int fd : {control_.get(), out_.fd.get(), err_.fd.get()})
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) return Failed("cannot watch an interpreter");
  if (!control_watch_.Start(loop_, control_.get(), EPOLLIN, [this](uint32_t) { ReadControl(); }) ||
      !out_.watch.Start(loop_, out_.fd.get(), EPOLLIN, [this](uint32_t) { Pump(out_, false); }) ||
      !err_.watch.Start(loop_, err_.fd.get(), EPOLLIN, [this](uint32_t) { Pump(err_, false); }))
    return Failed("cannot watch an interpreter");
  auto job = pool_.Start(command->spec, {their_control.get(), their_out.get(), their_err.get()}, *this);
  if (!job) return job.error();
  job_ = *job;
  return {};
}

Status Context::Begin(ContextExecution execution, ContextClient& client) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "number", executions_ + 1);
  json::Member(w, "results", execution.results);
  if (!execution.cwd.empty()) json::Member(w, "cwd", execution.cwd);
  if (!execution.env_json.empty()) {
    json::Key(w, "env");
    w.RawValue(execution.env_json.data(), execution.env_json.size(), rapidjson::kObjectType);
  }
  w.EndObject();
  const auto size = static_cast<uint32_t>(buffer.GetSize());
  const char length[4] = {static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                          static_cast<char>(size >> 8), static_cast<char>(size)};
  const Fd file(memfd_create("code", MFD_CLOEXEC));
  if (!file || !WriteAll(file.get(), {length, sizeof length}) ||
      !WriteAll(file.get(), {buffer.GetString(), buffer.GetSize()}) || !WriteAll(file.get(), execution.code))
    return Failed("cannot hand code to an interpreter");

  const int fds[2] = {execution.input.get(), file.get()};
  char byte = 'x';
  iovec io{&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof fds)]{};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(header), fds, sizeof fds);
  // One that has just died says so by its report, which is how the execution ends then.
  if (sendmsg(control_.get(), &message, MSG_NOSIGNAL) < 0 && errno != EPIPE)
    return Failed("cannot hand code to an interpreter");
  client_ = &client;
  interrupted_ = done_ = false;
  exit_code_ = 0;
  ++executions_;
  used_ms_ = WallMs();
  Resume();
  return {};
}

void Context::Resume() {
  for (Pipe* pipe : {&out_, &err_})
    if (pipe->fd) pipe->watch.Set(EPOLLIN);
  // What was printed in between comes first, though no new output may wake the loop.
  loop_.Defer([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    Pump(out_, false);
    Pump(err_, false);
  });
}

void Context::Pump(Pipe& pipe, bool all) {
  static char slice[kSlice];
  pipe.empty = false;
  bool again = true;
  while (again) {
    size_t room = client_ != nullptr ? client_->Room(pipe.stream) : kSlice;
    if (room == 0) {
      pipe.watch.Set(0);  // until Resume
      return;
    }
    room = std::min(room, kSlice);
    if (client_ != nullptr && (pipe.late.size() > 0 || pipe.late.dropped() > 0)) {
      if (const uint64_t dropped = pipe.late.dropped(); dropped > 0 && !pipe.late_told) {
        pipe.late_told = true;
        client_->OnOutput(pipe.stream, "[… " + std::to_string(dropped) +
                                           " bytes that were printed between executions are missing …]\n");
        continue;
      }
      const std::string_view front = pipe.late.Front().substr(0, room);
      if (!front.empty()) client_->OnOutput(pipe.stream, front);
      pipe.late.Remove(front.size());
      if (pipe.late.size() == 0) {
        pipe.late = TailBuffer(kLate);
        pipe.late_told = false;
      }
      again = true;
      continue;
    }
    again = all;
    if (!pipe.fd) {
      pipe.empty = true;
      break;
    }
    // What a thread of the code prints from now on is of the next execution.
    if (done_ && pipe.due == 0) {
      pipe.empty = true;
      break;
    }
    if (done_) room = static_cast<size_t>(std::min<uint64_t>(room, pipe.due));
    const ssize_t n = read(pipe.fd.get(), slice, room);
    if (n < 0 && errno == EINTR) {
      again = true;
      continue;
    }
    if (n < 0 && errno == EAGAIN) {
      pipe.empty = true;
      break;
    }
    if (n <= 0) {
      pipe.watch.Stop();
      pipe.fd.Reset();
      pipe.empty = true;
      break;
    }
    const std::string_view bytes(slice, static_cast<size_t>(n));
    if (done_) pipe.due -= bytes.size();
    if (client_ != nullptr)
      client_->OnOutput(pipe.stream, bytes);
    else
      pipe.late.Append(bytes);
  }
  if (done_ || report_) TryEnd();
}

// From here on what the pipes hold is all there is of the execution.
void Context::Settle() {
  for (Pipe* pipe : {&out_, &err_}) {
    int due = 0;
    if (pipe->fd && ioctl(pipe->fd.get(), FIONREAD, &due) < 0) due = 0;
    pipe->due = static_cast<uint64_t>(due);
    pipe->empty = false;
  }
  Pump(out_, true);
  Pump(err_, true);
}

void Context::ReadControl() {
  static char slice[kSlice];
  while (control_) {
    const ssize_t n = recv(control_.get(), slice, sizeof slice, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      control_watch_.Stop();
      control_.Reset();
      // It ends, of which the report is to come; or the code has closed it, and it can be told nothing more.
      if (!report_) closed_.Arm(NowNs() + kClosed);
      return;
    }
    lines_.append(slice, static_cast<size_t>(n));
    size_t begin = 0;
    for (size_t end; (end = lines_.find('\n', begin)) != std::string::npos; begin = end + 1)
      TakeLine(std::string_view(lines_).substr(begin, end - begin));
    lines_.erase(0, begin);
    if (lines_.size() > kMaxLine) {
      lines_.clear();
      return Kill("it sent a result without end");
    }
  }
}

void Context::TakeLine(std::string_view line) {
  if (client_ == nullptr || done_) return;
  const auto message = json::ParseObject(line);
  if (!message) return Kill("it sent what is no result");
  if (const json::Value* result = json::Find(*message, "result"); result != nullptr && result->IsObject())
    return client_->OnResult(json::ToString(*result));
  const json::Value* done = json::Find(*message, "done");
  if (done == nullptr || !done->IsObject()) return Kill("it sent what is no result");
  done_ = true;
  grace_.Cancel();
  exit_code_ = static_cast<int>(json::GetInt(*done, "exit_code").value_or(1)) & 255;
  memory_ = static_cast<uint64_t>(std::max<int64_t>(0, json::GetInt(*done, "memory").value_or(0)));
  Settle();
}

void Context::TryEnd() {
  if (client_ != nullptr && (done_ || report_) && out_.empty && err_.empty) {
    ContextEnd end;
    end.completed = !report_;
    end.exit_code = exit_code_;
    end.interrupted = interrupted_;
    end.supervisor_lost = lost_;
    if (report_) end.report = *report_;
    grace_.Cancel();
    used_ms_ = WallMs();
    done_ = false;
    std::exchange(client_, nullptr)->OnEnd(end);
  }
  if (client_ == nullptr && report_ && !over_) {
    over_ = true;
    died_();
  }
}

void Context::Interrupt() {
  if (client_ == nullptr || interrupted_ || done_ || job_ == nullptr) return;
  interrupted_ = true;
  pool_.Signal(job_, SIGINT);
  grace_.Arm(NowNs() + kGrace);
}

void Context::Signal(int number) {
  if (job_ != nullptr) pool_.Signal(job_, number);
}

void Context::Kill(std::string why) {
  if (end_.empty()) end_ = std::move(why);
  if (job_ != nullptr) pool_.Kill(job_);
}

void Context::OnReport(const Report& report) {
  job_ = nullptr;
  report_ = report;
  if (end_.empty()) end_ = HowItEnded(report);
  grace_.Cancel();
  closed_.Cancel();
  done_ = false;
  Settle();
  TryEnd();
}

void Context::OnSupervisorLost() {
  lost_ = true;
  OnReport({});
}

}  // namespace csb::agent

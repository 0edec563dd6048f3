// SPDX-License-Identifier: Apache-2.0
#include "agent/background/program.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "agent/process/code_file.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

constexpr size_t kSlice = 32 << 10;
// What a terminal is told at the end of the input: end of file, at the start of a line (termios(3), VEOF).
constexpr char kEndOfFile = 4;

Error Failed(const char* what) {
  const int error = errno;
  if (error == EMFILE || error == ENFILE)
    return {CSB_E_NO_CAPACITY, std::string(what) + ": file descriptors exhausted in the sandbox",
            "end some of the running commands", true};
  return {CSB_E_IO, std::string(what) + ": " + strerror(error), "", true};
}

}  // namespace

Program::Program(Loop& loop, SupervisorPool& pool, const Identity& identity, const OomCounter& oom,
                 Identification identification, Command command)
    : Background(loop, std::move(identification)),
      pool_(pool),
      identity_(identity),
      oom_(oom),
      command_(std::move(command)),
      deadline_(loop, [this] { Kill(Cause::kDeadline); }) {
  out_.stream = CSB_STREAM_STDOUT;
  err_.stream = CSB_STREAM_STDERR;
}

Status Program::MakePipes(const ProgramStart& start, Fd (&child)[3]) {
  // The user's own, so that the command can open /dev/stdout and the like again.
  const AsUserOnDisk as_user(identity_);
  int ends[2];
  if (start.input) {
    if (pipe2(ends, O_CLOEXEC) < 0) return Failed("cannot make a pipe for the input");
    child[0].Reset(ends[0]);
    in_.Reset(ends[1]);
  } else {
    child[0].Reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!child[0]) return Failed("cannot open /dev/null");
  }
  for (Source* source : {&out_, &err_}) {
    if (pipe2(ends, O_CLOEXEC) < 0) return Failed("cannot make a pipe for the output");
    source->fd.Reset(ends[0]);
    child[source->stream].Reset(ends[1]);
  }
  return {};
}

Status Program::MakeTerminal(const ProgramStart& start, Fd (&child)[3]) {
  const AsUserOnDisk as_user(identity_);
  out_.fd.Reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!out_.fd || grantpt(out_.fd.get()) < 0 || unlockpt(out_.fd.get()) < 0)
    return Failed("cannot make a terminal in the sandbox");
  child[0].Reset(ioctl(out_.fd.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!child[0]) {  // before Linux 4.13, and where the engine's /dev/pts is another
    const char* name = ptsname(out_.fd.get());
    if (name != nullptr) child[0].Reset(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  }
  if (!child[0]) return Failed("cannot open a terminal in the sandbox");
  terminal_ = true;
  if (!Resize(start.rows, start.cols)) return Failed("cannot size a terminal");
  for (int i = 1; i < 3; ++i) {
    child[i].Reset(fcntl(child[0].get(), F_DUPFD_CLOEXEC, 3));
    if (!child[i]) return Failed("cannot open a terminal in the sandbox");
  }
  in_.Reset(fcntl(out_.fd.get(), F_DUPFD_CLOEXEC, 3));
  return in_ ? Status() : Status(Failed("cannot open a terminal in the sandbox"));
}

Status Program::Start(const ProgramStart& start) {
  Fd child[3];
  if (auto made = start.terminal ? MakeTerminal(start, child) : MakePipes(start, child); !made) return made;
  for (const Fd* fd : {&out_.fd, &err_.fd, &in_})
    if (*fd && fcntl(fd->get(), F_SETFL, fcntl(fd->get(), F_GETFL) | O_NONBLOCK) < 0)
      return Failed("cannot watch a program");
  for (Source* source : {&out_, &err_})
    if (source->fd &&
        !source->watch.Start(loop_, source->fd.get(), EPOLLIN, [this, source](uint32_t) { Read(*source); }))
      return Failed("cannot watch a program");
  if (in_ && !in_watch_.Start(loop_, in_.get(), 0, [this](uint32_t) { WriteInput(); }))
    return Failed("cannot watch a program");
  command_.spec.terminal = start.terminal ? 1 : 0;
  oom_before_ = oom_.Read();
  auto job = pool_.Start(command_.spec, {child[0].get(), child[1].get(), child[2].get()}, *this);
  if (!job) return job.error();
  job_ = *job;
  std::string().swap(command_.spec.code);
  timeout_ms_ = start.timeout_ms;
  if (timeout_ms_ > 0) deadline_.Arm(started_ns_ + static_cast<int64_t>(timeout_ms_) * kMs);
  return {};
}

bool Program::Read(Source& source) {
  static char slice[kSlice];
  if (!source.fd) return false;
  const ssize_t n = read(source.fd.get(), slice, sizeof slice);
  if (n < 0 && errno == EINTR) return true;
  if (n < 0 && errno == EAGAIN) return false;
  if (n <= 0) {  // a terminal that nobody has open any more says EIO
    source.watch.Stop();
    if (job_ == nullptr || !terminal_) source.fd.Reset();
    return false;
  }
  Output(source.stream, {slice, static_cast<size_t>(n)});
  return true;
}

uint64_t Program::InputRoom() const {
  if (!input_open()) return kInputWindow;  // it is taken, and goes nowhere
  return kInputWindow - std::min<uint64_t>(kInputWindow, in_buffer_.size());
}

bool Program::Input(std::string_view bytes, bool end) {
  if (!input_open()) return false;
  in_buffer_.append(bytes);
  if (end) {
    if (terminal_)
      in_buffer_ += kEndOfFile;
    else
      input_ended_ = true;
  }
  WriteInput();
  return true;
}

void Program::WriteInput() {
  if (!in_) return;
  size_t written = 0;
  bool blocked = false;
  while (written < in_buffer_.size() && !blocked) {
    const ssize_t n = write(in_.get(), in_buffer_.data() + written, in_buffer_.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      blocked = true;
    } else if (n < 0) {  // the program has closed it, which is its right
      in_watch_.Stop();
      in_.Reset();
      in_buffer_.clear();
      return Progress();
    } else {
      written += static_cast<size_t>(n);
    }
  }
  in_buffer_.erase(0, written);
  if (in_buffer_.empty() && input_ended_) {
    in_watch_.Stop();
    in_.Reset();
  } else {
    in_watch_.Set(blocked ? EPOLLOUT : 0u);
  }
  if (written > 0) Progress();
}

void Program::Signal(int number) {
  if (job_ != nullptr) pool_.Signal(job_, number);
}

bool Program::Resize(int rows, int cols) {
  if (!terminal_ || !out_.fd) return false;
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(cols);
  return ioctl(out_.fd.get(), TIOCSWINSZ, &size) == 0;
}

void Program::Kill(Cause cause) {
  if (ended() || job_ == nullptr) return;
  if (cause_ == Cause::kNone) cause_ = cause;
  deadline_.Cancel();
  pool_.Kill(job_);
}

void Program::OnReport(const Report& report) {
  job_ = nullptr;
  deadline_.Cancel();
  in_watch_.Stop();
  in_.Reset();
  // All who could write are dead: what is in the pipes is all there is.
  for (Source* source : {&out_, &err_}) {
    while (Read(*source)) {
    }
    source->watch.Stop();
    source->fd.Reset();
  }
  OutcomeInput input;
  input.timeout_ms = timeout_ms_;
  input.deadline = cause_ == Cause::kDeadline;
  input.cancelled = cause_ == Cause::kCancelled || cause_ == Cause::kRemoved;
  input.lost = lost_;
  input.report = report;
  if (oom_before_) {
    const auto now = oom_.Read();
    input.oom_counted = now && *now > *oom_before_;
    if (input.oom_counted) input.memory_used = oom_.Usage();
  }
  input.seconds = static_cast<double>(NowNs() - started_ns_) / static_cast<double>(kSecond);
  End(command_, std::move(input));
}

void Program::OnSupervisorLost() {
  lost_ = true;
  OnReport({});
}

}  // namespace csb::agent

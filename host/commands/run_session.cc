// SPDX-License-Identifier: Apache-2.0
#include "host/commands/run_session.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "clara_sandbox/cpp/json.h"
#include "host/commands/ask.h"
#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/log/logger.h"

namespace csb::host {
namespace {

constexpr uint64_t kOutputCredit = 1 << 20;  // what may wait in memory
constexpr uint64_t kCreditStep = 64 << 10;
constexpr size_t kInputStep = 64 << 10;

// Writes without blocking, once poll said that the file takes bytes: a pipe or terminal that is writable
// takes PIPE_BUF bytes (pipe(7)); a regular file takes any number.
ssize_t WriteSome(int fd, std::string_view data) {
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  if (known && S_ISSOCK(info.st_mode)) return send(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (!known || !S_ISREG(info.st_mode)) data = data.substr(0, PIPE_BUF);
  return write(fd, data.data(), data.size());
}

}  // namespace

const csb_events& RunSession::Events() {
  static constexpr csb_events kEvents = {
      sizeof(csb_events),
      0,
      [](void* ctx, uint32_t stream, csb_str data) {
        auto& self = *static_cast<RunSession*>(ctx);
        std::lock_guard lock(self.mutex_);
        self.arrived_.push_back({stream == CSB_STREAM_STDERR ? 2 : 1, std::string(View(data))});
        self.signals_.Wake();
      },
      [](void*, uint32_t, csb_str) {},
      [](void* ctx, uint64_t bytes) {
        auto& self = *static_cast<RunSession*>(ctx);
        std::lock_guard lock(self.mutex_);
        self.input_credit_ += bytes;
        self.signals_.Wake();
      },
      [](void* ctx, const csb_outcome* outcome) { static_cast<RunSession*>(ctx)->OnDone(*outcome); },
  };
  return kEvents;
}

void RunSession::OnDone(const csb_outcome& outcome) {
  std::lock_guard lock(mutex_);
  outcome_ = Outcome{
      outcome.code, std::string(View(outcome.result)),
      Error{outcome.code, std::string(View(outcome.message)), std::string(View(outcome.hint)), false}};
  signals_.Wake();
}

int RunSession::Run(uint32_t op, std::string_view user, std::string_view payload, bool input) {
  const csb_request request = {
      sizeof(csb_request), op,           input ? CSB_REQUEST_INPUT : 0, 0, Str(user), {}, Str(payload),
      uint64_t{0},         kOutputCredit};
  csb_error error{};
  error.struct_size = sizeof error;
  status_ = service_.submit(service_.self, &request, &Events(), this, &handle_, &error);
  if (status_ != CSB_OK) return Fail(Error::From(status_, error));
  const int exit_code = Pump(input);
  service_.calls->close(handle_);
  return exit_code;
}

int RunSession::Pump(bool input) {
  while (true) {
    {
      std::lock_guard lock(mutex_);
      std::move(arrived_.begin(), arrived_.end(), std::back_inserter(output_));
      arrived_.clear();
      if (outcome_ && output_.empty()) break;
      if (outcome_) input = false;
    }
    Step(input);
  }
  status_ = outcome_->code;
  return ExitCode();
}

// Waits for one thing to happen and does it.
void RunSession::Step(bool& input) {
  std::vector<pollfd> fds(2);
  {
    std::lock_guard lock(mutex_);
    fds[0] = {input && input_credit_ > 0 ? STDIN_FILENO : -1, POLLIN, 0};
  }
  fds[1] = {output_.empty() ? -1 : output_.front().fd, POLLOUT, 0};
  if (const int signal = signals_.Wait(&fds); signal != 0 && !(on_signal && on_signal(signal))) {
    if (signal_ != 0) std::_Exit(128 + signal);
    signal_ = signal;
    Cancel();
  }
  if (fds[1].revents != 0) WriteOutput();
  if (fds[0].revents != 0) ReadInput(input);
}

void RunSession::Cancel() { service_.calls->cancel(handle_, CSB_E_CANCELLED); }

void RunSession::ReadInput(bool& input) {
  std::array<char, kInputStep> buffer;
  size_t size = buffer.size();
  {
    std::lock_guard lock(mutex_);
    size = std::min<uint64_t>(size, input_credit_);
  }
  const ssize_t n = read(STDIN_FILENO, buffer.data(), size);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n < 0) std::fprintf(stderr, "clara-sandbox: standard input: %s\n", std::strerror(errno));
  const auto got = static_cast<size_t>(std::max<ssize_t>(n, 0));
  {
    std::lock_guard lock(mutex_);
    input_credit_ -= got;
  }
  input = got > 0;
  service_.calls->input(handle_, {buffer.data(), got}, input ? 0 : 1);
}

void RunSession::WriteOutput() {
  const Chunk& chunk = output_.front();
  const std::string_view rest = std::string_view(chunk.data).substr(written_);
  // Once an output is broken the rest is dropped, but still counted, so that the operation comes to its end.
  const ssize_t n = output_errno_ != 0 ? static_cast<ssize_t>(rest.size()) : WriteSome(chunk.fd, rest);
  if (n < 0) {
    if (errno == EINTR || errno == EAGAIN) return;
    output_errno_ = errno;
    return Cancel();
  }
  written_ += static_cast<size_t>(n);
  if (written_ == chunk.data.size()) {
    output_.pop_front();
    written_ = 0;
  }
  GiveCredit(static_cast<size_t>(n), output_.empty());
}

void RunSession::GiveCredit(size_t written, bool all) {
  to_credit_ += written;
  if (to_credit_ < kCreditStep && !all) return;
  service_.calls->credit(handle_, to_credit_);
  to_credit_ = 0;
}

int RunSession::ExitCode() {
  if (signal_ != 0) return 128 + signal_;
  if (output_errno_ == EPIPE) return 128 + SIGPIPE;  // as of a program that writes to a closed pipe
  if (output_errno_ != 0) {
    std::fprintf(stderr, "clara-sandbox: output: %s\n", std::strerror(output_errno_));
    return kExitFailure;
  }
  if (outcome_->code != CSB_OK) return Fail(outcome_->error);
  auto result = json::ParseObject(outcome_->result);
  if (!result) return Fail(result.error());
  const std::string message(json::GetString(*result, "message").value_or(""));
  const std::string hint(json::GetString(*result, "hint").value_or(""));
  if (!message.empty()) PrintError({CSB_OK, OneLine(message), OneLine(hint), false});
  return static_cast<int>(json::GetInt(*result, "exit_code").value_or(kExitFailure)) & 0xff;
}

bool IsLive(const csb_service_v1& service, const std::string& user) {
  auto status = Ask(service, CSB_OP_STATUS, user, "{}", std::chrono::seconds(10));
  if (!status) return false;
  auto info = json::ParseObject(*status);
  return info && json::GetString(*info, "status") == "running";
}

Error NoBackend(const App& app) {
  for (const BackendFailure& failure : app.backend_failures()) return failure.error;
  const std::string mode = app.config().Text("sandbox.mode");
  return {CSB_E_UNAVAILABLE,
          mode == "auto" ? "no backend plugin was found in " + app.config().Text("sandbox.plugin_dirs")
                         : "backend " + mode + " is not installed or not enabled",
          "`clara-sandbox plugins` lists what was found and what was refused.", false};
}

void StopUnused(const csb_service_v1& service, const std::string& user, bool say) {
  auto stopped = Ask(service, CSB_OP_STOP, user, R"({"if_unused":true})", std::chrono::seconds(30));
  if (!stopped && say)
    Fail({CSB_E_IO, "the sandbox could not be stopped: " + stopped.error().message, stopped.error().hint,
          false});
}

bool HasInput() {
  struct stat info {};
  if (fstat(STDIN_FILENO, &info) != 0) return false;
  if (S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3)) return false;
  // Reading the terminal from the background would stop this process (termios(3), SIGTTIN).
  return isatty(STDIN_FILENO) == 0 || tcgetpgrp(STDIN_FILENO) == getpgrp();
}

}  // namespace csb::host

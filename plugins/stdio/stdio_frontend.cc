// SPDX-License-Identifier: Apache-2.0
#include "plugins/stdio/stdio_frontend.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/errno_error.h"
#include "plugins/mcp/sandbox_provider.h"
#include "plugins/stdio/line_splitter.h"

namespace csb::stdio {
namespace {

constexpr size_t kReadSize = 64 << 10;
constexpr std::chrono::milliseconds kLastWrites{1'000};

int PollTimeout(const std::optional<mcp::McpSession::Clock::time_point>& when) {
  if (!when) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(*when - mcp::McpSession::Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

}  // namespace

Result<std::unique_ptr<StdioFrontend>> StdioFrontend::Create(HostRef host, ServiceClient service) {
  return CreateOn(host, service, STDIN_FILENO, STDOUT_FILENO);
}

Result<std::unique_ptr<StdioFrontend>> StdioFrontend::CreateOn(HostRef host, ServiceClient service, int in,
                                                               int out) {
  mcp::ToolOptions options;
  options.user = host.Text("stdio.user", options.user);
  options.only = host.Bool("stdio.only", options.only);
  options.max_output =
      static_cast<size_t>(host.Int("stdio.max_output", static_cast<int64_t>(options.max_output)));
  options.yield_after = host.Number("mcp.yield_after", options.yield_after);
  if (Status good = CheckUserId(options.user); !good) {
    Error error = good.error();
    error.message = "stdio.user: " + error.message;
    return error;
  }
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return ErrnoError("eventfd");
  return std::unique_ptr<StdioFrontend>(
      new StdioFrontend(host, service, std::move(options), in, out, std::move(wake)));
}

StdioFrontend::StdioFrontend(HostRef host, ServiceClient service, mcp::ToolOptions options, int in, int out,
                             UniqueFd wake)
    : host_(host),
      service_(service),
      options_(std::move(options)),
      in_(in),
      out_(out),
      wake_(std::move(wake)) {}

StdioFrontend::~StdioFrontend() {
  Stop();
  if (reader_.joinable()) reader_.join();
  session_.reset();
  if (writer_ && !writer_->Finish(kLastWrites)) host_.LogDebug("the client did not read its last answers");
}

Status StdioFrontend::Start(Finished finished) {
  finished_ = std::move(finished);
  try {
    LineWriter::Handlers handlers;
    handlers.on_low = handlers.on_empty = [this] { Wake(); };
    handlers.on_broken = [this] {
      broken_ = true;
      Wake();
    };
    writer_ = std::make_unique<LineWriter>(out_, std::move(handlers));
    session_ = std::make_unique<mcp::McpSession>(mcp::MakeSandboxProvider(service_, options_),
                                                 [this](mcp::Outgoing out) {
                                                   writer_->Write(std::move(out.text));
                                                   if (input_over_) Wake();
                                                 });
    reader_ = std::thread([this] { Read(); });
  } catch (const std::system_error& e) {
    return Error{CSB_E_NO_CAPACITY, std::string("can't start a thread: ") + e.what(), "", true};
  }
  return {};
}

void StdioFrontend::Stop() {
  stopping_ = true;
  Wake();
}

void StdioFrontend::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

bool StdioFrontend::ReadOnce(LineSplitter& lines, int* exit_code) {
  const auto on_line = [this](std::string_view line) { session_->OnMessage(line); };
  // A client that does not read its answers asks nothing new meanwhile.
  const bool full = writer_->queued() > LineWriter::kHigh;
  // Standard output only says that nobody reads any more (poll(2): POLLERR of a pipe, POLLHUP of a socket).
  pollfd fds[3] = {{input_over_ ? -1 : in_, static_cast<short>(full ? 0 : POLLIN), 0},
                   {wake_.get(), POLLIN, 0},
                   {out_, 0, 0}};
  if (::poll(fds, 3, PollTimeout(session_->NextWake())) < 0 && errno != EINTR) {
    host_.LogError(ErrnoError("poll", "standard input").message);
    *exit_code = 1;
    return false;
  }
  session_->OnTime();
  if (fds[1].revents != 0) {
    uint64_t count;
    [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &count, sizeof count);
  }
  if (broken_ || (fds[2].revents & (POLLERR | POLLHUP)) != 0) {
    host_.LogInfo("the client closed standard output");
    return false;
  }
  if (stopping_) return true;
  if (fds[0].revents == 0) return !AllSaid();
  if ((fds[0].revents & (POLLIN | POLLHUP)) == 0) {
    host_.LogError("standard input is not open");
    *exit_code = 1;
    return false;
  }
  char buffer[kReadSize];
  const ssize_t n = ::read(in_, buffer, sizeof buffer);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n < 0) {
    host_.LogError(ErrnoError("read", "standard input").message);
    *exit_code = 1;
    return false;
  }
  if (n == 0) {
    input_over_ = true;
    lines.Finish(on_line);
    return !AllSaid();
  }
  lines.Feed({buffer, static_cast<size_t>(n)}, on_line, [this] {
    session_->OnUnreadable("the line has more than " + std::to_string(kMaxLine >> 20) + " MiB");
  });
  return true;
}

void StdioFrontend::Read() {
  LineSplitter lines(kMaxLine);
  int exit_code = 0;
  while (!stopping_)
    if (!ReadOnce(lines, &exit_code)) {
      session_->CancelAll();
      finished_(exit_code);
      return;
    }
}

}  // namespace csb::stdio

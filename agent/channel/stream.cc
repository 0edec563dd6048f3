// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/stream.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/base/log.h"
#include "agent/channel/outcome.h"
#include "agent/files/task.h"
#include "agent/process/code_file.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {

using protocol::Kind;

namespace {

constexpr uint64_t kInputWindow = 1 << 20;
// Grants travel in steps, or every byte of input would cost a frame.
constexpr uint64_t kInputStep = 256 << 10;
constexpr size_t kSlice = protocol::kMaxData;
constexpr int64_t kCleanupLimit = 5 * kSecond;

// One thread, and no slice is kept across a call.
char g_slice[kSlice];

}  // namespace

Stream::Stream(StreamContext& context, Channel& channel, uint32_t id, bool with_input, Command command,
               uint64_t timeout_ms, uint64_t credit)
    : context_(context),
      channel_(&channel),
      id_(id),
      with_input_(with_input),
      command_(std::move(command)),
      timeout_ms_(timeout_ms),
      credit_(credit),
      opened_ns_(NowNs()),
      deadline_(context.loop, [this] { Kill(Cause::kDeadline); }),
      cleanup_limit_(context.loop, [this] {
        if (job_ != nullptr) context_.pool.Kill(job_);
      }) {
  out_.stream = command_.out_stream;
  err_.stream = CSB_STREAM_STDERR;
  if (command_.head || command_.tail)
    for (Output* output : {&out_, &err_}) {
      output->bounded = true;
      output->head_left = command_.head.value_or(0);
      output->tail = TailBuffer(command_.tail.value_or(0));
    }
}

Status Stream::MakePipes(Fd (&child)[4]) {
  const auto failed = [](const char* what) {
    const int error = errno;
    if (error == EMFILE || error == ENFILE)
      return Error{CSB_E_NO_CAPACITY, std::string(what) + ": file descriptors exhausted in the sandbox",
                   "end some of the running commands", true};
    return Error{CSB_E_IO, std::string(what) + ": " + strerror(error), "", true};
  };
  // The user's own, so that the command can open /dev/stdout and the like again.
  const AsUserOnDisk as_user(context_.identity);
  const auto make = [&](Fd& ours, Fd& theirs, bool we_read) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return false;
    ours.Reset(ends[we_read ? 0 : 1]);
    theirs.Reset(ends[we_read ? 1 : 0]);
    return fcntl(ours.get(), F_SETFL, O_NONBLOCK) == 0;
  };
  if (with_input_) {
    if (!make(in_, child[0], false)) return failed("cannot make a pipe for the input");
  } else {
    child[0].Reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!child[0]) return failed("cannot open /dev/null");
  }
  if (!make(out_.fd, child[1], true) || !make(err_.fd, child[2], true))
    return failed("cannot make a pipe for the output");
  if (!command_.spec.task.empty() && !make(result_, child[3], true))
    return failed("cannot make a pipe for the result");
  Loop& loop = context_.loop;
  bool watched = out_.watch.Start(loop, out_.fd.get(), EPOLLIN, [this](uint32_t) { Pump(out_); }) &&
                 err_.watch.Start(loop, err_.fd.get(), EPOLLIN, [this](uint32_t) { Pump(err_); });
  if (watched && in_) watched = in_watch_.Start(loop, in_.get(), 0, [this](uint32_t) { WriteInput(); });
  if (watched && result_)
    watched = result_watch_.Start(loop, result_.get(), EPOLLIN, [this](uint32_t) { ReadResult(); });
  if (!watched) return failed("cannot watch a pipe");
  return {};
}

Status Stream::Start() {
  Fd child[4];
  if (auto made = MakePipes(child); !made) return made;
  oom_before_ = context_.oom.Read();
  std::vector<int> fds = {child[0].get(), child[1].get(), child[2].get()};
  if (child[3]) fds.push_back(child[3].get());
  started_ns_ = NowNs();
  auto job = context_.pool.Start(command_.spec, fds, *this);
  if (!job) return job.error();
  job_ = *job;
  // The code may be large and is the supervisor's now; a task's arguments are asked for again by a clean-up.
  std::string().swap(command_.spec.code);
  if (timeout_ms_ > 0) deadline_.Arm(opened_ns_ + static_cast<int64_t>(timeout_ms_) * kMs);
  if (with_input_) GrantInput(kInputWindow);
  return {};
}

void Stream::Cancel() { Kill(Cause::kCancelled); }

void Stream::Kill(Cause cause) {
  if (main_report_) {
    // The command is over; at most its output still waits for a reader.
    if (report_ && cause_ == Cause::kNone) cause_ = cause;
    return TryFinish();
  }
  if (cause_ == Cause::kNone) cause_ = cause;
  deadline_.Cancel();
  // The input's end stays open: the end of file would tell a file_write that its data is complete.
  in_watch_.Set(0);
  if (job_ != nullptr)
    context_.pool.Kill(job_);
  else
    TryFinish();
}

// Output ----------------------------------------------------------------------------------------

Stream::Progress Stream::PumpOnce(Output& output) {
  if (!output.fd) return Progress::kClosed;
  const bool to_host = !output.bounded || output.head_left > 0;
  size_t room = kSlice;
  if (to_host && channel_ != nullptr) {
    if (command_.waits_for_meta && !meta_seen_) return Progress::kNoRoom;
    if (channel_->full()) return Progress::kNoRoom;
    if (credit_ == 0) return Progress::kNoCredit;
    room = std::min<uint64_t>(room, credit_);
    if (output.bounded) room = std::min<uint64_t>(room, output.head_left);
  }
  const ssize_t n = read(output.fd.get(), g_slice, room);
  if (n < 0 && errno == EINTR) return Progress::kMoved;
  if (n < 0 && errno == EAGAIN) return Progress::kEmpty;
  if (n <= 0) {
    output.watch.Stop();
    output.fd.Reset();
    return Progress::kClosed;
  }
  const std::string_view bytes(g_slice, static_cast<size_t>(n));
  output.bytes += bytes.size();
  if (command_.is_pip && output.stream == CSB_STREAM_STDERR) {
    pip_missing_ = pip_missing_ || bytes.find("No module named pip") != bytes.npos;
    pip_no_match_ = pip_no_match_ || bytes.find("No matching distribution") != bytes.npos;
  }
  if (channel_ == nullptr) return Progress::kMoved;
  if (to_host) {
    credit_ -= bytes.size();
    if (output.bounded) output.head_left -= bytes.size();
    channel_->Send(Kind::kOutput, output.stream, id_, bytes);
  } else {
    output.tail.Append(bytes);
  }
  return Progress::kMoved;
}

void Stream::Pump(Output& output) {
  if (report_) return TryFinish();
  switch (PumpOnce(output)) {
    case Progress::kNoCredit:
    case Progress::kNoRoom:
      output.watch.Set(0);
      break;  // until Resume
    default:
      break;
  }
}

void Stream::Resume() {
  if (report_) return TryFinish();
  if (out_.fd) out_.watch.Set(EPOLLIN);
  if (err_.fd) err_.watch.Set(EPOLLIN);
  if (result_) result_watch_.Set(EPOLLIN);
}

void Stream::OnCredit(uint64_t bytes) {
  credit_ = bytes > UINT64_MAX - credit_ ? UINT64_MAX : credit_ + bytes;
  Resume();
}

// Input -----------------------------------------------------------------------------------------

bool Stream::OnInput(std::string_view bytes, bool end) {
  if (!with_input_ || in_ended_ || bytes.size() > in_credit_) return false;
  in_credit_ -= bytes.size();
  in_ended_ = end;
  if (in_broken_ || cause_ != Cause::kNone || report_) {
    // Nobody reads it any more; the host may still finish sending.
    GrantInput(bytes.size());
    return true;
  }
  uint64_t written = 0;
  // Past the buffer as far as the pipe takes it.
  while (in_ && in_buffer_.empty() && !bytes.empty()) {
    const ssize_t n = write(in_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // full, or broken: WriteInput finds out which
    bytes.remove_prefix(static_cast<size_t>(n));
    written += static_cast<uint64_t>(n);
  }
  if (written > 0) GrantInput(written);
  in_buffer_.append(bytes);
  WriteInput();
  return true;
}

void Stream::GrantInput(uint64_t bytes) {
  in_written_ += bytes;
  if (in_ended_ || channel_ == nullptr || in_written_ == 0) return;
  if (in_written_ < kInputStep) return;
  in_credit_ += in_written_;
  channel_->SendU64(Kind::kInputCredit, id_, in_written_);
  in_written_ = 0;
}

void Stream::WriteInput() {
  if (!in_ || cause_ != Cause::kNone) return;
  uint64_t written = 0;
  bool blocked = false;
  while (in_begin_ < in_buffer_.size() && !blocked && !in_broken_) {
    const ssize_t n = write(in_.get(), in_buffer_.data() + in_begin_, in_buffer_.size() - in_begin_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN)
      blocked = true;
    else if (n < 0)
      in_broken_ = true;  // the command closed its input early, which is its right
    else {
      in_begin_ += static_cast<size_t>(n);
      written += static_cast<uint64_t>(n);
    }
  }
  if (in_broken_) {
    written += in_buffer_.size() - in_begin_;
    in_begin_ = in_buffer_.size();
  }
  if (in_begin_ == in_buffer_.size()) {
    in_buffer_.clear();
    in_begin_ = 0;
    if (in_ended_ || in_broken_) {
      in_watch_.Stop();
      in_.Reset();
      std::string().swap(in_buffer_);
    }
  } else if (in_begin_ >= kInputStep) {
    in_buffer_.erase(0, in_begin_);
    in_begin_ = 0;
  }
  if (in_) in_watch_.Set(blocked ? EPOLLOUT : 0u);
  GrantInput(written);
}

// A task's result lines -------------------------------------------------------------------------

void Stream::ReadResult() {
  while (result_) {
    if (channel_ != nullptr && channel_->full() && !report_) return result_watch_.Set(0);
    const ssize_t n = read(result_.get(), g_slice, kSlice);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!report_) return;
    } else if (n > 0) {
      result_buffer_.append(g_slice, static_cast<size_t>(n));
      size_t begin = 0;
      for (size_t end; (end = result_buffer_.find('\n', begin)) != std::string::npos; begin = end + 1)
        if (!TakeLine(std::string_view(result_buffer_).substr(begin, end - begin))) {
          Log("a file task sent a line that is no event and no result");
          begin = end + 1;
          break;
        }
      result_buffer_.erase(0, begin);
      if (result_buffer_.size() <= kMaxResultLine) continue;
      Log("a file task sent a line of more than %zu bytes", kMaxResultLine);
      result_buffer_.clear();
      continue;
    }
    result_watch_.Stop();
    result_.Reset();
  }
}

bool Stream::TakeLine(std::string_view line) {
  if (line.substr(0, 8) == "{\"code\":") {
    last_line_ = line;
    // A task that ended without a META has no data either, but its pipes must still come to their end.
    meta_seen_ = true;
    if (!report_) Resume();
    return true;
  }
  const auto event = json::ParseObject(line);
  if (!event) return false;
  const auto id = json::GetInt(*event, "event");
  const json::Value* data = json::Find(*event, "data");
  if (!id || *id < 1 || *id > 255 || data == nullptr) return false;
  if (channel_ != nullptr)
    channel_->Send(Kind::kEvent, static_cast<uint8_t>(*id), id_, json::ToString(*data));
  if (*id == CSB_EVENT_META && !meta_seen_) {
    meta_seen_ = true;
    if (!report_) Resume();
  }
  return true;
}

// The end ---------------------------------------------------------------------------------------

void Stream::OnCancel(bool deadline) { Kill(deadline ? Cause::kDeadline : Cause::kCancelled); }

void Stream::OnDetached() {
  channel_ = nullptr;
  Cancel();
}

void Stream::OnReport(const Report& report) {
  job_ = nullptr;
  if (!main_report_) {
    main_report_ = report;
    ended_ns_ = NowNs();
    deadline_.Cancel();
    in_watch_.Stop();
    in_.Reset();
    if (StartCleanup()) return;
  }
  cleanup_limit_.Cancel();
  report_ = main_report_;
  if (result_) ReadResult();
  // A task that was killed before it could tell: its pipes must come to their end all the same.
  meta_seen_ = true;
  TryFinish();
}

// An unzip that was killed leaves a staging folder behind, which only the user's rights can remove.
bool Stream::StartCleanup() {
  if (command_.spec.task != "unzip" || (cause_ == Cause::kNone && WIFEXITED(main_report_->wait_status)))
    return false;
  StartSpec spec;
  spec.task = "file_cleanup";
  spec.task_args = command_.spec.task_args;
  const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  auto job = context_.pool.Start(spec, {null.get(), null.get(), null.get(), null.get()}, *this);
  if (!job) {
    Log("cannot remove what an ended unzip left: %s", job.error().message.c_str());
    return false;
  }
  job_ = *job;
  cleanup_limit_.Arm(NowNs() + kCleanupLimit);
  return true;
}

void Stream::OnSupervisorLost() {
  lost_ = true;
  OnReport({});
}

// True once the pipe is done with. All who could write to it are dead, so what is in it is all there is.
bool Stream::Drain(Output& output) {
  for (;;) {
    switch (PumpOnce(output)) {
      case Progress::kMoved:
        break;
      case Progress::kClosed:
        return true;
      case Progress::kEmpty:
        output.watch.Stop();
        output.fd.Reset();
        return true;
      case Progress::kNoRoom:
        output.watch.Set(0);
        return false;
      case Progress::kNoCredit:
        output.watch.Set(0);
        int left = 0;
        const bool known = ioctl(output.fd.get(), FIONREAD, &left) == 0;
        // An empty pipe has come to its end, which costs no credit.
        if (cause_ == Cause::kNone && (!known || left > 0)) return false;
        // Cut short anyway: an end that waited for a slow reader would not be one.
        if (left > 0) {
          output.bytes += static_cast<uint64_t>(left);
          output.dropped += static_cast<uint64_t>(left);
        }
        output.watch.Stop();
        output.fd.Reset();
        return true;
    }
  }
}

void Stream::TellDropped(Output& output) {
  if (output.dropped == 0 || channel_ == nullptr) return;
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "stream", static_cast<int>(output.stream));
  json::Member(w, "bytes", output.dropped);
  w.EndObject();
  channel_->Send(Kind::kEvent, CSB_EVENT_DROPPED, id_, {buffer.GetString(), buffer.GetSize()});
}

bool Stream::SendTail(Output& output) {
  if (!output.dropped_told) {
    output.dropped += output.tail.dropped();
    // A reader out of credit gets no tail after a cut: what is left counts as dropped too.
    if (cause_ != Cause::kNone && credit_ < output.tail.size()) {
      output.dropped += output.tail.size() - credit_;
      output.tail.Remove(output.tail.size() - credit_);
    }
    output.dropped_told = true;
    TellDropped(output);
  }
  while (output.tail.size() > 0 && channel_ != nullptr) {
    if (channel_->full() || credit_ == 0) return false;
    const std::string_view front = output.tail.Front();
    const size_t n = std::min<uint64_t>({front.size(), credit_, kSlice});
    channel_->Send(Kind::kOutput, output.stream, id_, front.substr(0, n));
    credit_ -= n;
    output.tail.Remove(n);
  }
  return true;
}

void Stream::TryFinish() {
  if (!report_ || finished_) return;
  // Both are drained even if one waits: their pipes are independent.
  const bool out_done = Drain(out_);
  if (!Drain(err_) || !out_done) return;
  const bool out_sent = SendTail(out_);
  if (!SendTail(err_) || !out_sent) return;
  Finish();
}

void Stream::Finish() {
  finished_ = true;
  OutcomeInput input;
  input.timeout_ms = timeout_ms_;
  input.deadline = cause_ == Cause::kDeadline;
  input.cancelled = cause_ == Cause::kCancelled;
  input.lost = lost_;
  input.report = *report_;
  if (oom_before_) {
    const auto now = context_.oom.Read();
    input.oom_counted = now && *now > *oom_before_;
    if (input.oom_counted) input.memory_used = context_.oom.Usage();
  }
  input.seconds = static_cast<double>(ended_ns_ - started_ns_) / static_cast<double>(kSecond);
  input.stdout_bytes = out_.bytes;
  input.stderr_bytes = err_.bytes;
  input.stdout_dropped = out_.dropped;
  input.stderr_dropped = err_.dropped;
  input.last_line = last_line_;
  input.pip_missing = pip_missing_;
  input.pip_no_match = pip_no_match_;
  if (channel_ != nullptr) {
    channel_->Remove(id_);
    channel_->Send(Kind::kDone, 0, id_, DonePayload(command_, input));
  }
  context_.finished(*this);
}

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "host/move/endpoint.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <optional>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "host/plugin/guarded_operation.h"

namespace csb::host {
namespace {

constexpr size_t kMaxText = 4 << 20;
constexpr uint64_t kWindow = 1 << 20;                      // bytes of a piece in memory
constexpr std::chrono::milliseconds kPieceLimit{300'000};  // as long as a backend lets anything run
constexpr int kPurgeTurns = 3;
constexpr std::chrono::milliseconds kControlLimit{120'000};  // stop and purge: an engine may be busy

struct End {
  csb_status code = CSB_OK;
  std::string result, message, hint;
  Error ToError() const { return {code, message, hint, false}; }
};

// One operation and what has come of it.
class Flight {
 public:
  Flight() = default;
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  Status Submit(BackendInstance& backend, Timers& timers, uint32_t op, std::string_view user,
                std::string_view payload, std::chrono::milliseconds limit, uint64_t credit, bool input,
                std::mutex& mutex, std::condition_variable& changed) {
    mutex_ = &mutex;
    changed_ = &changed;
    csb_request request{};
    request.struct_size = sizeof request;
    request.op = op;
    request.flags = input ? CSB_REQUEST_INPUT : 0;
    request.user = Str(user);
    request.request_id = Str("move");
    request.payload = Str(payload);
    request.output_credit = credit;
    request.deadline_ns = static_cast<uint64_t>(
        (std::chrono::steady_clock::now().time_since_epoch() + std::chrono::nanoseconds(limit)).count());
    return GuardedOperation::Submit(backend, timers, request, kEvents, this, &operation);
  }

  // Under the mutex.
  std::deque<std::string> data;  // output, of the streams that are kept
  std::string error_text;        // stderr, its end
  uint64_t got = 0;
  uint64_t input_credit = 0;
  std::optional<End> end;

  GuardedOperation operation;  // last: it goes first, and with it the callbacks

 private:
  static const csb_events kEvents;
  std::mutex* mutex_ = nullptr;
  std::condition_variable* changed_ = nullptr;
};

const csb_events Flight::kEvents = {sizeof(csb_events),
                                    0,
                                    [](void* ctx, uint32_t stream, csb_str data) {
                                      auto* self = static_cast<Flight*>(ctx);
                                      const std::lock_guard lock(*self->mutex_);
                                      if (stream == CSB_STREAM_STDERR) {
                                        self->error_text.append(View(data));
                                        if (self->error_text.size() > 8192)
                                          self->error_text.erase(0, self->error_text.size() - 4096);
                                      } else {
                                        self->data.emplace_back(View(data));
                                      }
                                      self->got += data.size;
                                      self->changed_->notify_all();
                                    },
                                    [](void*, uint32_t, csb_str) {},
                                    [](void* ctx, uint64_t bytes) {
                                      auto* self = static_cast<Flight*>(ctx);
                                      const std::lock_guard lock(*self->mutex_);
                                      self->input_credit += bytes;
                                      self->changed_->notify_all();
                                    },
                                    [](void* ctx, const csb_outcome* outcome) {
                                      auto* self = static_cast<Flight*>(ctx);
                                      const std::lock_guard lock(*self->mutex_);
                                      self->end = End{outcome->code, std::string(View(outcome->result)),
                                                      std::string(View(outcome->message)),
                                                      std::string(View(outcome->hint))};
                                      self->changed_->notify_all();
                                    }};

Error Stopped() { return {CSB_E_CANCELLED, "stopped", "", true}; }

std::string LastLine(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const size_t line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

}  // namespace

// ---- Stopper ----

void Stopper::Stop() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(stopped_, true)) return;
  for (const auto& [id, cancel] : hooks_) cancel();
}

bool Stopper::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

Stopper::Hook::Hook(Stopper& stopper, std::function<void()> cancel) : stopper_(stopper) {
  const std::lock_guard lock(stopper_.mutex_);
  id_ = stopper_.next_++;
  if (stopper_.stopped_) cancel();
  stopper_.hooks_.emplace(id_, std::move(cancel));
}

Stopper::Hook::~Hook() {
  const std::lock_guard lock(stopper_.mutex_);
  stopper_.hooks_.erase(id_);
}

// ---- Endpoint ----

Error Endpoint::Named(Error error) const {
  error.message = "backend " + name() + ": " + error.message;
  return error;
}

Result<std::string> Endpoint::Do(uint32_t op, std::string_view payload, std::chrono::milliseconds limit,
                                 When when) {
  const bool stoppable = when == When::kUnlessStopped;
  if (stoppable && stopper_.stopped()) return Stopped();
  std::mutex mutex;
  std::condition_variable changed;
  Flight flight;
  if (auto s = flight.Submit(backend_, timers_, op, user_, payload, limit, kMaxText, false, mutex, changed);
      !s)
    return Named(s.error());
  std::optional<Stopper::Hook> hook;
  if (stoppable) hook.emplace(stopper_, [&] { flight.operation.Cancel(CSB_E_CANCELLED); });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return flight.end.has_value(); });
  const End end = *std::move(flight.end);
  lock.unlock();
  hook.reset();
  if (end.code == CSB_OK) return end.result;
  if (stoppable && stopper_.stopped()) return Stopped();
  return Named(end.ToError());
}

Result<std::string> Endpoint::RunPython(const std::string& code, std::chrono::milliseconds limit, When when) {
  const bool stoppable = when == When::kUnlessStopped;
  if (stoppable && stopper_.stopped()) return Stopped();
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", std::string_view(code));
  json::Member(w, "cwd", std::string_view("/"));
  json::Member(w, "timeout", std::chrono::duration<double>(limit).count());
  w.EndObject();
  std::mutex mutex;
  std::condition_variable changed;
  Flight flight;
  if (auto s = flight.Submit(backend_, timers_, CSB_OP_EXECUTE, user_, {buffer.GetString(), buffer.GetSize()},
                             limit + std::chrono::seconds(5), kMaxText, false, mutex, changed);
      !s)
    return Named(s.error());
  std::optional<Stopper::Hook> hook;
  if (stoppable) hook.emplace(stopper_, [&] { flight.operation.Cancel(CSB_E_CANCELLED); });
  std::unique_lock lock(mutex);
  bool too_long = false;
  changed.wait(lock, [&] {
    too_long = flight.got >= kMaxText;
    return flight.end.has_value() || too_long;
  });
  if (too_long && !flight.end) {
    lock.unlock();
    flight.operation.Cancel(CSB_E_CANCELLED);
    lock.lock();
    changed.wait(lock, [&] { return flight.end.has_value(); });
  }
  const End end = *std::move(flight.end);
  std::string out;
  for (const std::string& text : flight.data) out += text;
  const std::string said = LastLine(flight.error_text);
  lock.unlock();
  hook.reset();
  if (stoppable && stopper_.stopped()) return Stopped();
  if (too_long) return Named({CSB_E_INTERNAL, "a program of the move wrote too much", "", false});
  if (end.code != CSB_OK) return Named(end.ToError());
  auto result = json::ParseObject(end.result);
  if (!result) return Named(result.error());
  const int64_t exit_code = json::GetInt(*result, "exit_code").value_or(-1);
  if (exit_code == 0) return out;
  std::string why = said;
  if (why.empty()) why = json::GetString(*result, "message").value_or("");
  if (why.empty()) why = "a program of the move ended with " + std::to_string(exit_code);
  // As the programs end (programs.cc).
  const csb_status code_of = exit_code == 28 ? CSB_E_NO_SPACE : exit_code == 4 ? CSB_E_CONFLICT : CSB_E_IO;
  return Named({code_of, why, "", false});
}

Result<Endpoint::State> Endpoint::Look(When when) {
  auto status = Do(CSB_OP_STATUS, "{}", std::chrono::seconds(30), when);
  if (!status) {
    if (status.error().code == CSB_E_NOT_FOUND || status.error().code == CSB_E_NO_SANDBOX)
      return State::kNone;
    return status.error();
  }
  auto info = json::ParseObject(*status);
  if (!info) return Named(info.error());
  return json::GetString(*info, "status") == "running" ? State::kRunning : State::kStopped;
}

Status Endpoint::Stop(When when) {
  auto done = Do(CSB_OP_STOP, "{}", kControlLimit, when);
  if (done || done.error().code == CSB_E_NOT_FOUND || done.error().code == CSB_E_NO_SANDBOX) return {};
  return done.error();
}

// An engine may say that there was nothing while something still goes: what counts is that nothing is left.
Status Endpoint::Purge() {
  std::string said = "it was asked for";
  for (int turn = 0; turn < kPurgeTurns; ++turn) {
    auto done = Do(CSB_OP_DESTROY, R"({"purge":true})", kControlLimit, When::kAnyway);
    if (!done && done.error().code != CSB_E_NOT_FOUND && done.error().code != CSB_E_NO_SANDBOX)
      return done.error();
    if (!done) said = done.error().message;
    auto state = Look(When::kAnyway);
    if (!state) return state.error();
    if (*state == State::kNone) return {};
  }
  return Named(
      {CSB_E_IO, "the user's files are still there after a purge (" + said + ")", "try again", true});
}

// ---- a piece ----

Status CopyPiece(Endpoint& from, Endpoint& to, const Piece& piece) {
  const auto payload = [&](const std::string& path, bool read) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "path", std::string_view(path));
    if (read && !piece.whole) {
      json::Member(w, "offset", piece.offset);
      json::Member(w, "length", piece.length);
    }
    if (!read) json::Member(w, "mode", std::string_view("0600"));
    json::Member(w, "timeout", std::chrono::duration<double>(kPieceLimit).count());
    w.EndObject();
    return std::string(buffer.GetString(), buffer.GetSize());
  };
  Stopper& stopper = from.stopper_;
  if (stopper.stopped()) return Stopped();
  std::mutex mutex;
  std::condition_variable changed;
  Flight write, read;
  const auto cancel = [&] {
    read.operation.Cancel(CSB_E_CANCELLED);
    write.operation.Cancel(CSB_E_CANCELLED);
  };
  if (auto s = write.Submit(to.backend_, to.timers_, CSB_OP_FILE_WRITE, to.user_, payload(piece.to, false),
                            kPieceLimit, kWindow, true, mutex, changed);
      !s)
    return to.Named(s.error());
  if (auto s = read.Submit(from.backend_, from.timers_, CSB_OP_FILE_READ, from.user_,
                           payload(piece.from, true), kPieceLimit, kWindow, false, mutex, changed);
      !s) {
    write.operation.Cancel(CSB_E_CANCELLED);
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return write.end.has_value(); });
    return from.Named(s.error());
  }
  const Stopper::Hook hook(stopper, cancel);
  uint64_t sent = 0;
  bool eof = false, cut = false;
  std::unique_lock lock(mutex);
  while (!read.end || !write.end) {
    const bool failed = (read.end && read.end->code != CSB_OK) || write.end;
    if (failed && !cut) {
      cut = true;
      lock.unlock();
      cancel();
      lock.lock();
      continue;
    }
    if (!failed && !read.data.empty() && write.input_credit > 0) {
      std::string& front = read.data.front();
      const size_t n = std::min<uint64_t>(front.size(), write.input_credit);
      std::string part = front.substr(0, n);
      n == front.size() ? read.data.pop_front() : static_cast<void>(front.erase(0, n));
      write.input_credit -= n;
      lock.unlock();
      const csb_status taken = write.operation.Input(Str(part), false);
      read.operation.Credit(n);
      lock.lock();
      sent += n;
      if (taken != CSB_OK && !write.end) write.end = End{taken, "", "input was refused", ""};
      continue;
    }
    if (!failed && read.end && read.data.empty() && !eof && sent >= piece.length) {
      eof = true;
      lock.unlock();
      write.operation.Input({}, true);
      lock.lock();
      continue;
    }
    // A file that is shorter than it was is no file that may be written.
    if (!failed && read.end && read.data.empty() && sent < piece.length && !cut) {
      cut = true;
      lock.unlock();
      cancel();
      lock.lock();
      continue;
    }
    changed.wait(lock);
  }
  const End read_end = *read.end, write_end = *write.end;
  lock.unlock();
  if (stopper.stopped()) return Stopped();
  if (read_end.code != CSB_OK && !(write_end.code != CSB_OK && read_end.code == CSB_E_CANCELLED))
    return from.Named({read_end.code, piece.from + ": " + read_end.message, read_end.hint, false});
  if (sent != piece.length && write_end.code == CSB_E_CANCELLED)
    return from.Named({CSB_E_CONFLICT, piece.from + ": changed while it was moved", "", true});
  if (write_end.code != CSB_OK) return to.Named({write_end.code, write_end.message, write_end.hint, false});
  return {};
}

}  // namespace csb::host

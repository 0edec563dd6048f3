// SPDX-License-Identifier: Apache-2.0
#include "host/service/testing/fake_backend.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"

namespace csb::host {
namespace {

// create has no argument for it; tests make their backends one after another.
FakeBackend* g_being_made = nullptr;

bool Lifecycle(uint32_t op) {
  return op == CSB_OP_CREATE || op == CSB_OP_STOP || op == CSB_OP_RESTART || op == CSB_OP_DESTROY;
}

constexpr char kExecResult[] =
    R"({"exit_code":0,"cause":"exit","signal":0,"execution_time":0.001,"stdout_bytes":3,"stderr_bytes":0,)"
    R"("stdout_dropped":0,"stderr_dropped":0,"message":"","hint":""})";

}  // namespace

struct FakeBackend::Op {
  FakeBackend* backend;
  uint32_t op;
  uint32_t flags;
  bool hangs = false;  // came while everything hung, and stays so
  int life = 0;        // of the sandbox that was there
  std::string user, payload;
  const csb_events* events;
  void* ctx;
  std::atomic<bool> ended{false};
  std::recursive_mutex callbacks;  // one at a time
  std::mutex mutex;
  uint64_t credit = 0;
  bool wants_credit = false;
  std::string input;
  std::shared_ptr<Op> self;  // until close
};

FakeBackend::FakeBackend(std::string name, HostServices& services) : name_(std::move(name)) {
  static const csb_op_calls kCalls = {
      sizeof(csb_op_calls),
      0,
      [](csb_op* handle, csb_str data, uint32_t eof) -> csb_status {
        auto op = reinterpret_cast<Op*>(handle)->self;
        op->input.append(View(data));
        if (eof != 0)
          op->backend->threads_->Post([op] { op->backend->Finish(op, CSB_OK, R"({"path":"p","size":1})"); });
        return CSB_OK;
      },
      [](csb_op* handle, uint64_t bytes) {
        auto op = reinterpret_cast<Op*>(handle)->self;
        bool go;
        {
          std::lock_guard lock(op->mutex);
          op->credit += bytes;
          go = std::exchange(op->wants_credit, false);
        }
        if (go) op->backend->threads_->Post([op] { op->backend->Run(op); });
      },
      [](csb_op* handle, csb_status cause) {
        auto op = reinterpret_cast<Op*>(handle)->self;
        FakeBackend* b = op->backend;
        if (b->Locked([&] { return b->hang_ || op->hangs; })) return;
        b->threads_->Post([op, b, cause] {
          b->Finish(op, cause, "", {cause, "cancelled at the backend", "", false});
        });
      },
      [](csb_op* handle) { auto last = std::move(reinterpret_cast<Op*>(handle)->self); }};
  static const csb_backend_v1 kTable = {
      sizeof(csb_backend_v1), 0, &FakeBackend::Create, [](csb_backend*) {}, &FakeBackend::Submit, &kCalls};
  descriptor_.struct_size = sizeof descriptor_;
  descriptor_.magic = CSB_PLUGIN_MAGIC;
  descriptor_.abi_major = CSB_ABI_MAJOR;
  descriptor_.abi_minor = CSB_ABI_MINOR;
  descriptor_.kind = CSB_KIND_BACKEND;
  descriptor_.name = name_.c_str();
  descriptor_.version = "1.0.0";
  descriptor_.description = "a fake";
  descriptor_.get_interface = [](const char* id) -> const void* {
    return std::string_view(id) == CSB_BACKEND_V1 ? &kTable : nullptr;
  };
  for (const char* name : {"memory", "cpu", "pids", "disk", "network", "seccomp"})
    enforced_ += (enforced_.empty() ? "{\"" : ",\"") + std::string(name) +
                 R"(":{"enforced":true,"value":"1","by":"fake"})";
  enforced_ += "}";
  g_being_made = this;
  auto made = BackendInstance::Create({"/fake/" + name_ + ".so", &descriptor_}, services);
  g_being_made = nullptr;
  if (!made) {
    ADD_FAILURE() << made.error().message;
    return;
  }
  instance_ = *std::move(made);
}

FakeBackend::~FakeBackend() {
  threads_->Stop();
  instance_.reset();
  EXPECT_EQ(violations(), std::vector<std::string>{}) << name_;
}

csb_status FakeBackend::Create(const csb_host*, csb_backend** out, csb_error*) {
  *out = reinterpret_cast<csb_backend*>(g_being_made);
  return CSB_OK;
}

csb_status FakeBackend::Submit(csb_backend* backend, const csb_request* request, const csb_events* events,
                               void* ctx, csb_op** out, csb_error* error) {
  auto* self = reinterpret_cast<FakeBackend*>(backend);
  auto op = std::make_shared<Op>();
  op->backend = self;
  op->op = request->op;
  op->flags = request->flags;
  op->user = View(request->user);
  op->payload = View(request->payload);
  op->events = events;
  op->ctx = ctx;
  op->credit = request->output_credit;
  bool hold = false, hang = false;
  {
    std::unique_lock lock(self->mutex_);
    self->changed_.wait(lock, [&] { return self->hanging_submits_.count(op->op) == 0; });
    ++self->counts_[op->op];
    self->payloads_[op->op] = op->payload;
    self->deadlines_[op->op] = request->deadline_ns;
    self->changed_.notify_all();
    if (auto it = self->submit_failures_.find(op->op); it != self->submit_failures_.end())
      return it->second.Fill(error);
    if (Lifecycle(op->op) && ++self->sandboxes_[op->user].lifecycle > 1)
      self->violations_.push_back("two life-cycle steps of " + op->user + " at once");
    if (const auto at = self->sandboxes_.find(op->user); at != self->sandboxes_.end())
      op->life = at->second.life;
    hang = op->hangs = self->hang_;
    hold = self->holding_.count(op->op) > 0;
    op->self = op;
    *out = reinterpret_cast<csb_op*>(op.get());
    if (hold && !hang) self->held_.push_back(op);
    self->changed_.notify_all();
  }
  if (!hold && !hang) self->threads_->Post([self, op] { self->Run(op); });
  return CSB_OK;
}

std::string FakeBackend::InfoOf(const std::string& user, const Sandbox& sandbox) const {
  return R"({"user_id":")" + user + R"(","container_id":"c-)" + user + R"(","status":")" +
         (sandbox.live ? "running" : "stopped") +
         R"(","created_at":"2026-01-01T00:00:00.000Z","last_used":null,"execution_count":0,"backend":"?",)" +
         (sandbox.member.empty() ? "" : R"("type":"container","member":")" + sandbox.member + R"(",)") +
         R"("enforced":)" + enforced_ + "}";
}

void FakeBackend::Run(const OpPtr& op) {
  std::string result = "{}";
  std::optional<Error> failure;
  bool output = false, input = false;
  {
    std::lock_guard lock(mutex_);
    if (op->ended.load()) return;
    if (auto it = failures_.find(op->op); it != failures_.end()) {
      failure = it->second;
    } else if (auto own = user_failures_.find({op->user, op->op}); own != user_failures_.end()) {
      failure = own->second;
    } else if (op->op == CSB_OP_PROBE) {
      result = available_
                   ? std::string(
                         R"({"available":true,"reason":"","hint":"","version":"fake 1","isolation":"none")") +
                         R"(,"own_channel":)" + (own_channel_ ? "true" : "false") + R"(,"enforces":)" +
                         enforced_ + "}"
                   : R"({"available":false,"reason":")" + reason_ + R"(","hint":"start it"})";
    } else if (op->op == CSB_OP_LIST) {
      result = R"({"sandboxes":[)";
      for (const auto& [user, sandbox] : sandboxes_)
        if (sandbox.made) result += (result.back() == '[' ? "" : ",") + InfoOf(user, sandbox);
      result += "]}";
    } else {
      auto it = sandboxes_.find(op->user);
      Sandbox& sandbox = it == sandboxes_.end() ? sandboxes_[op->user] : it->second;
      switch (op->op) {
        case CSB_OP_CREATE:
        case CSB_OP_RESTART: {
          if (!sandbox.live || op->op == CSB_OP_RESTART) ++sandbox.life;
          sandbox.made = sandbox.live = true;
          int live = 0;
          for (const auto& entry : sandboxes_) live += entry.second.live ? 1 : 0;
          most_live_ = std::max(most_live_, live);
          result = InfoOf(op->user, sandbox);
          break;
        }
        case CSB_OP_STATUS:
          if (!sandbox.made) failure = Error{CSB_E_NOT_FOUND, "no sandbox of " + op->user, "", false};
          result = InfoOf(op->user, sandbox);
          break;
        case CSB_OP_STOP:
          result = sandbox.live ? R"({"status":"stopped"})" : R"({"status":"not_found"})";
          sandbox.live = false;
          break;
        case CSB_OP_DESTROY:
          sandbox.live = false;
          result = !sandbox.made ? R"({"status":"not_found","files_preserved":false})"
                   : op->payload.find("true") == std::string::npos
                       ? R"({"status":"deleted","files_preserved":true})"
                       : R"({"status":"deleted","files_preserved":false})";
          break;
        default:
          if (!sandbox.live || (seen_ && op->life != sandbox.life))
            failure = Error{CSB_E_NO_SANDBOX, "no sandbox of " + op->user, "", true};
          if (!failure && seen_) seen_(op->user, op->op);
          input = (op->flags & CSB_REQUEST_INPUT) != 0;
          output = op->op == CSB_OP_SHELL || op->op == CSB_OP_EXECUTE;
          if (output) result = kExecResult;
      }
    }
  }
  if (failure) return Finish(op, failure->code, "", *failure);
  const bool held = Locked([&] {
    if (holding_answers_.count(op->op) == 0) return false;
    held_answers_.push_back([this, op, result] { Finish(op, CSB_OK, result); });
    changed_.notify_all();
    return true;
  });
  if (held) return;
  const std::lock_guard callback(op->callbacks);
  if (op->ended.load()) return;
  if (input) return op->events->on_input_credit(op->ctx, 65536);
  if (output) {
    {
      std::lock_guard lock(op->mutex);
      if (op->credit < 3) {
        op->wants_credit = true;
        return;
      }
      op->credit -= 3;
    }
    op->events->on_output(op->ctx, CSB_STREAM_STDOUT, Str("hi\n"));
  }
  Finish(op, CSB_OK, result);
}

void FakeBackend::Finish(const OpPtr& op, csb_status code, std::string result, Error error) {
  if (op->ended.exchange(true)) return;
  {
    std::lock_guard lock(mutex_);
    if (Lifecycle(op->op)) --sandboxes_[op->user].lifecycle;
    if (op->op == CSB_OP_DESTROY && code == CSB_OK && result.find("false") != std::string::npos) {
      sandboxes_[op->user].made = false;
      if (seen_) seen_(op->user, CSB_OP_DESTROY);
    }
    held_.erase(std::remove(held_.begin(), held_.end(), op), held_.end());
  }
  csb_outcome outcome{};
  outcome.struct_size = sizeof outcome;
  outcome.code = code;
  outcome.retryable = error.retryable ? 1 : 0;
  if (code == CSB_OK) outcome.result = Str(result);
  outcome.message = Str(error.message);
  outcome.hint = Str(error.hint);
  const std::lock_guard callback(op->callbacks);
  op->events->on_done(op->ctx, &outcome);
}

void FakeBackend::Hold(uint32_t op) {
  Locked([&] { holding_.insert(op); });
}
void FakeBackend::Release(uint32_t op) {
  std::vector<OpPtr> go;
  Locked([&] {
    holding_.erase(op);
    for (const auto& each : held_)
      if (each->op == op) go.push_back(each);
    held_.erase(std::remove_if(held_.begin(), held_.end(), [&](const OpPtr& o) { return o->op == op; }),
                held_.end());
  });
  for (auto& each : go) threads_->Post([this, each] { Run(each); });
}
void FakeBackend::HoldAnswers(uint32_t op) {
  Locked([&] { holding_answers_.insert(op); });
}
void FakeBackend::ReleaseAnswers() {
  std::vector<std::function<void()>> go;
  Locked([&] {
    holding_answers_.clear();
    go.swap(held_answers_);
  });
  for (auto& each : go) threads_->Post(std::move(each));
}
bool FakeBackend::WaitHeldAnswers(int n) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10),
                           [&] { return static_cast<int>(held_answers_.size()) >= n; });
}
void FakeBackend::Fail(uint32_t op, std::optional<Error> error) {
  Locked([&] {
    failures_.erase(op);
    if (error) failures_.emplace(op, *error);
  });
}
void FakeBackend::FailFor(const std::string& user, uint32_t op, std::optional<Error> error) {
  Locked([&] {
    user_failures_.erase({user, op});
    if (error) user_failures_.emplace(std::pair(user, op), *error);
  });
}
void FakeBackend::FailSubmit(uint32_t op, std::optional<Error> error) {
  Locked([&] {
    submit_failures_.erase(op);
    if (error) submit_failures_.emplace(op, *error);
  });
}
void FakeBackend::Hang(bool on) {
  Locked([&] { hang_ = on; });
}
void FakeBackend::HangSubmit(uint32_t op, bool on) {
  Locked([&] {
    on ? static_cast<void>(hanging_submits_.insert(op)) : static_cast<void>(hanging_submits_.erase(op));
    changed_.notify_all();
  });
}
void FakeBackend::SetAvailable(bool available, std::string reason) {
  Locked([&] {
    available_ = available;
    reason_ = std::move(reason);
  });
}
void FakeBackend::SetEnforced(std::string json) {
  Locked([&] { enforced_ = std::move(json); });
}
void FakeBackend::SetOwnChannel() {
  Locked([&] { own_channel_ = true; });
}
void FakeBackend::Put(const std::string& user, bool live) {
  Locked([&] {
    sandboxes_[user].made = true;
    sandboxes_[user].live = live;
  });
}
void FakeBackend::SetMember(const std::string& user, std::string member) {
  Locked([&] { sandboxes_[user].member = std::move(member); });
}
void FakeBackend::Lose(const std::string& user, const std::function<void()>& then) {
  Locked([&] {
    sandboxes_[user].live = false;
    if (then) then();
  });
}
void FakeBackend::Drop(const std::string& user) {
  Locked([&] { sandboxes_[user].live = sandboxes_[user].made = false; });
}
void FakeBackend::Watch(Seen seen) {
  Locked([&] { seen_ = std::move(seen); });
}
int FakeBackend::count(uint32_t op) const {
  return Locked([&] {
    auto it = counts_.find(op);
    return it == counts_.end() ? 0 : it->second;
  });
}
int FakeBackend::held(uint32_t op) const {
  return Locked([&] {
    return static_cast<int>(
        std::count_if(held_.begin(), held_.end(), [&](const OpPtr& o) { return o->op == op; }));
  });
}
bool FakeBackend::WaitHeld(uint32_t op, int n) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10), [&] {
    return std::count_if(held_.begin(), held_.end(), [&](const OpPtr& o) { return o->op == op; }) >= n;
  });
}
bool FakeBackend::WaitCount(uint32_t op, int n) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10), [&] {
    auto it = counts_.find(op);
    return it != counts_.end() && it->second >= n;
  });
}
bool FakeBackend::Has(const std::string& user) const {
  return Locked([&] {
    auto it = sandboxes_.find(user);
    return it != sandboxes_.end() && it->second.made;
  });
}
bool FakeBackend::Live(const std::string& user) const {
  return Locked([&] {
    auto it = sandboxes_.find(user);
    return it != sandboxes_.end() && it->second.live;
  });
}
int FakeBackend::live() const {
  return Locked([&] {
    int n = 0;
    for (const auto& entry : sandboxes_) n += entry.second.live ? 1 : 0;
    return n;
  });
}
int FakeBackend::most_live() const {
  return Locked([&] { return most_live_; });
}
std::vector<std::string> FakeBackend::violations() const {
  return Locked([&] { return violations_; });
}
std::string FakeBackend::last_payload(uint32_t op) const {
  return Locked([&] {
    auto it = payloads_.find(op);
    return it == payloads_.end() ? std::string() : it->second;
  });
}
uint64_t FakeBackend::last_deadline(uint32_t op) const {
  return Locked([&] {
    auto it = deadlines_.find(op);
    return it == deadlines_.end() ? uint64_t{0} : it->second;
  });
}

}  // namespace csb::host

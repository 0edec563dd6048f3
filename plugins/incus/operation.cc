// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/operation.h"

#include <algorithm>

#include "plugins/incus/engine_error.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using std::chrono::ceil;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kEventPatience = 1s;
constexpr seconds kLongestPoll = 30s;
constexpr auto kPollGrace = 5s;    // an engine that is late is not yet one that hangs
constexpr auto kPollPace = 100ms;  // between two questions to an engine that does not wait
constexpr auto kCancelLimit = 10s;

}  // namespace

void Operations::OnEvent(const json::Value& metadata) {
  OperationInfo info = ReadOperation(metadata);
  if (info.id.empty() || !info.ended()) return;
  const std::lock_guard lock(mutex_);
  if (!ended_.insert_or_assign(info.id, info).second) return;
  order_.push_back(info.id);
  for (; order_.size() > kRemembered; order_.pop_front()) ended_.erase(order_.front());
  changed_.notify_all();
}

void Operations::SetOpen(bool open) {
  const std::lock_guard lock(mutex_);
  open_ = open;
  changed_.notify_all();
}

bool Operations::Take(const std::string& id, OperationInfo* out) {
  const auto it = ended_.find(id);
  if (it == ended_.end()) return false;
  *out = std::move(it->second);
  ended_.erase(it);
  return true;
}

Result<OperationInfo> Operations::Await(const std::string& id, const std::string& what,
                                        Clock::time_point deadline) {
  {
    std::unique_lock lock(mutex_);
    const auto patience = std::min(deadline, Clock::now() + kEventPatience);
    OperationInfo info;
    bool known = false;
    while (!(known = Take(id, &info)) && open_ &&
           changed_.wait_until(lock, patience) != std::cv_status::timeout)
      continue;
    if (known && !info.failed()) return info;
    // An event has the words of a failure, /wait its code as well.
    if (known) ended_.insert_or_assign(id, std::move(info));
  }
  return Poll(id, what, deadline);
}

Result<OperationInfo> Operations::Poll(const std::string& id, const std::string& what,
                                       Clock::time_point deadline) {
  for (;;) {
    const auto begun = Clock::now();
    if (begun >= deadline) return GiveUp(id, what);
    const auto left = ceil<milliseconds>(deadline - begun);
    const auto asked = std::clamp<seconds>(ceil<seconds>(left), 1s, kLongestPoll);
    HttpRequest request;
    request.target = "/1.0/operations/" + id + "/wait" + query_ + "&timeout=" + std::to_string(asked.count());
    request.timeout = std::min<milliseconds>(left, asked + kPollGrace);
    auto answer = client_.Call(std::move(request));
    if (!answer && answer.error().code == CSB_E_DEADLINE && Clock::now() >= deadline) return GiveUp(id, what);
    if (!answer) return TransportError(client_.endpoint(), answer.error());
    OperationInfo info;
    if (answer->status == 404) {
      // It is forgotten some seconds after its end; an event may have told that.
      const std::lock_guard lock(mutex_);
      if (!Take(id, &info))
        return Error{CSB_E_UNAVAILABLE,
                     "cannot " + what +
                         ": the engine does not know the operation any more; it restarted, or was "
                         "asked too late",
                     "", true};
      if (info.failed()) return EngineError(what, 500, info.error);
      return info;
    }
    if (answer->status >= 400) return EngineError(what, *answer);
    auto doc = json::ParseObject(answer->body);
    if (!doc)
      return Error{CSB_E_UNAVAILABLE, "cannot " + what + ": the engine's answer is no JSON", "", true};
    // A failure comes with HTTP status 200.
    const AnswerHead head = ReadHead(*doc);
    if (head.type == "error") return EngineError(what, head.code, head.error);
    info = ReadOperation(Metadata(*doc));
    std::unique_lock lock(mutex_);
    if (info.ended()) {
      ended_.erase(id);
      if (info.failed()) return EngineError(what, 500, info.error);
      return info;
    }
    if (Clock::now() - begun < milliseconds(asked) / 2)
      changed_.wait_until(lock, std::min(deadline, begun + kPollPace));
  }
}

Error Operations::GiveUp(const std::string& id, const std::string& what) {
  HttpRequest request;
  request.method = "DELETE";
  request.target = "/1.0/operations/" + id + query_;
  request.timeout = kCancelLimit;
  // Most can't be cancelled: whatever it answers, this operation is not waited for.
  client_.Start(std::move(request), [](const Result<HttpResponse>&) {});
  return {CSB_E_DEADLINE, "cannot " + what + ": the engine did not finish in time", "", true};
}

}  // namespace csb::incus

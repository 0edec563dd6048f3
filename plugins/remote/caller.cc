// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/caller.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <random>

#include "plugins/common/printable.h"
#include "plugins/remote/answer.h"

namespace csb::remote {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr auto kSlack = 3s;  // for the service to say that the operation's own deadline passed
// A stream has a sign of life each 15 s (docs/rest.md): this is more than two that did not come.
constexpr auto kSilence = 40s;
constexpr auto kUnderWay = 200ms;  // before asking again for an answer that is being made

std::mt19937_64& Random() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return random;
}

std::string NewKey() {
  std::array<char, 40> text;
  std::snprintf(text.data(), text.size(), "%016llx%016llx", static_cast<unsigned long long>(Random()()),
                static_cast<unsigned long long>(Random()()));
  return text.data();
}

// Full jitter: many who lost the same service do not come back at the same time.
milliseconds Pause(int attempt) {
  const int64_t most = int64_t{100} << std::min(attempt, 5);
  return milliseconds(std::uniform_int_distribution<int64_t>(0, most)(Random()));
}

// As deadlines are told: CLOCK_MONOTONIC is what this clock is.
uint64_t NowNs() {
  return static_cast<uint64_t>(std::chrono::nanoseconds(Reactor::Clock::now().time_since_epoch()).count());
}

}  // namespace

std::shared_ptr<Caller> Caller::Make(std::shared_ptr<Links> links, const RequestView& request, Steps steps) {
  return std::shared_ptr<Caller>(new Caller(std::move(links), request, std::move(steps)));
}

Caller::Caller(std::shared_ptr<Links> links, const RequestView& request, Steps steps)
    : links_(std::move(links)),
      user_(request.user),
      request_id_(request.request_id),
      deadline_ns_(request.deadline_ns),
      steps_(std::move(steps)) {}

bool Caller::Stopped() {
  const std::lock_guard lock(mutex_);
  return cancelled_ || links_->closed();
}

void Caller::Find(std::function<void(Link&)> found) {
  again_ = found;
  links_->Find(user_, [self = shared_from_this(), found = std::move(found)](Result<Link*> link) mutable {
    if (!link) return self->End(link.error());
    self->Learn(*link, std::move(found));
  });
}

void Caller::Learn(Link* link, std::function<void(Link&)> found) {
  if (Stopped()) return End(Error{CSB_E_CANCELLED, "cancelled", "", false});
  {
    const std::lock_guard lock(mutex_);
    link_ = link;
  }
  links_->Learn(*link, false, [self = shared_from_this(), link, found = std::move(found)](Status known) {
    if (self->Stopped()) return self->End(Error{CSB_E_CANCELLED, "cancelled", "", false});
    if (known) return found(*link);
    // Nothing was asked of it yet.
    if (known.error().code == CSB_E_UNAVAILABLE && known.error().retryable) link->MarkDown();
    if (self->attempts_++ < self->links_->options().retries && known.error().retryable)
      return self->Later(Pause(self->attempts_), true);
    self->End(known.error());
  });
}

// The whole of a plain request, the silence of a streamed one.
milliseconds Caller::Limit(const Mapped& mapped) const {
  milliseconds limit = links_->options().request_timeout;
  if (mapped.streamed) return std::max<milliseconds>(limit, kSilence);
  const uint64_t now = NowNs();
  if (deadline_ns_ > now)
    limit = std::max(limit, milliseconds((deadline_ns_ - now) / 1'000'000) + milliseconds(kSlack));
  return limit;
}

double Caller::Left() const {
  if (deadline_ns_ == 0) return 0;
  const uint64_t now = NowNs();
  return std::max(deadline_ns_ > now ? static_cast<double>(deadline_ns_ - now) * 1e-9 : 0, 0.001);
}

void Caller::Send() {
  if (Stopped()) return End(Error{CSB_E_CANCELLED, "cancelled", "", false});
  if (link_->IsSilent()) return End(Silence(false));
  const Peer peer = link_->Offers();
  auto mapped = steps_.build(peer);
  if (!mapped) return End(mapped.error());
  HttpRequest request = links_->Prepare(*link_, std::move(mapped->http));
  if (!request_id_.empty()) request.headers.push_back("X-Request-Id: " + Printable(request_id_, 64));
  // A stream can't be sent again, and a service that is given a key takes the digest of all that comes.
  if (peer.once && request.method == "POST" && !request.source) {
    if (key_.empty()) key_ = NewKey(), instance_ = link_->Instance();
    request.headers.push_back("Idempotency-Key: " + key_);
    // Keys are forgotten with the process that kept them.
    if (attempts_ > 0 && !instance_.empty()) request.headers.push_back("X-Sandbox-Instance: " + instance_);
  }
  request.timeout = Limit(*mapped);
  request.once = !mapped->harmless;
  began_ = false;
  request.on_begin = [this] { began_ = true; };  // ends with the call, which keeps this alive
  mapped->http = {};
  links_->Watch(*link_, shared_from_this());
  const std::lock_guard lock(mutex_);
  call_ = link_->client->Start(
      std::move(request), [self = shared_from_this(), mapped = *std::move(mapped)](
                              Result<HttpResponse> answer) { self->OnAnswer(mapped, std::move(answer)); });
}

void Caller::OnAnswer(const Mapped& mapped, Result<HttpResponse> answer) {
  links_->Unwatch(*link_, *this);
  bool lost;
  {
    const std::lock_guard lock(mutex_);
    call_ = 0;
    lost = lost_;
  }
  if (lost && !answer) return End(Silence(began_ && !mapped.harmless));
  if (answer) link_->MarkUp();
  ever_began_ = ever_began_ || began_;
  if (Stopped()) return End(Error{CSB_E_CANCELLED, "cancelled", "", false});
  if (Again(mapped, answer)) return;
  if (answer) return End(std::move(answer));
  End(ErrorOfTransport(answer.error(), link_->where(), began_, mapped.harmless));
}

// It is sent again, soon.
bool Caller::Again(const Mapped& mapped, const Result<HttpResponse>& answer) {
  if (steps_.used && steps_.used()) return false;
  const bool keyed = !key_.empty();
  if (answer) {
    // The first attempt is still being answered there.
    if (!keyed || attempts_ == 0 || answer->status != 409 || answer->Header("Retry-After").empty())
      return false;
    if (deadline_ns_ != 0 && NowNs() > deadline_ns_) return false;
    Later(kUnderWay, false);
    return true;
  }
  if (answer.error().code != CSB_E_UNAVAILABLE || !answer.error().retryable) return false;
  if (!began_) link_->MarkDown();
  if (began_ && !mapped.harmless && (!keyed || instance_.empty())) return false;
  if (attempts_++ >= links_->options().retries) return false;
  Later(Pause(attempts_), !ever_began_);
  return true;
}

// elsewhere: nothing of it is anywhere, so that another address may get it.
void Caller::Later(milliseconds pause, bool elsewhere) {
  links_->reactor().At(Reactor::Clock::now() + pause, [self = shared_from_this(), elsewhere] {
    if (self->Stopped()) return self->End(Error{CSB_E_CANCELLED, "cancelled", "", false});
    if (!elsewhere) return self->Send();
    self->key_.clear();
    self->Find(self->again_);
  });
}

void Caller::End(Result<HttpResponse> answer) {
  Link* link = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    link = link_;
  }
  // They hold whoever made this.
  Steps steps = std::move(steps_);
  steps_ = {};
  again_ = nullptr;
  steps.done(std::move(answer), link);
}

Error Caller::Silence(bool sent) const {
  return {CSB_E_UNAVAILABLE,
          "the sandbox service at " + link_->where() + " does not answer any more" +
              (sent ? "; whether the request was done is not known" : ""),
          "see whether it hangs, or what is between: curl " + link_->where() + "/health", !sent};
}

void Caller::Lose() {
  const std::lock_guard lock(mutex_);
  lost_ = true;
  if (call_ != 0 && !links_->closed()) link_->client->Cancel(call_);
}

void Caller::Cancel() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(cancelled_, true) || links_->closed()) return;
  if (call_ != 0) return link_->client->Cancel(call_);
  // Whoever waits for input, or a pause, learns of it here.
  links_->reactor().Post([self = shared_from_this()] {
    const bool sent = [&] {
      const std::lock_guard again(self->mutex_);
      return self->call_ != 0;
    }();
    if (!sent) self->End(Error{CSB_E_CANCELLED, "cancelled", "", false});
  });
}

void Caller::Resume() {
  const std::lock_guard lock(mutex_);
  if (call_ != 0 && !links_->closed()) link_->client->Resume(call_);
}

}  // namespace csb::remote

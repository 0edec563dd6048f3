// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/watcher.h"

#include <algorithm>
#include <mutex>

#include "plugins/docker/engine_json.h"
#include "plugins/docker/sweeper.h"

namespace csb::docker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100}, kLongestPause{5'000};

// Not by label: what an image's name means is told of the image, whose labels are its maker's.
std::string Filters() {
  return UrlEscape(R"({"type":["container","image"],"event":["die","oom","pause","unpause","destroy",)"
                   R"("tag","untag","import","load","pull","delete"]})");
}

}  // namespace

struct Watcher::Impl : std::enable_shared_from_this<Impl> {
  Impl(HostRef host, Reactor& reactor, Engine& engine, Registry& registry)
      : host(host), reactor(reactor), engine(engine), registry(registry) {}

  const HostRef host;
  Reactor& reactor;
  Engine& engine;
  Registry& registry;
  std::mutex mutex;
  bool stopped = false;
  HttpClient::CallId call = 0;
  Reactor::TimerId timer = 0;
  milliseconds pause = kFirstPause;
  bool warned = false;

  void Open() {
    auto lines =
        std::make_shared<JsonLines>([me = shared_from_this()](const json::Value& event) { me->On(event); });
    HttpRequest request;
    request.target = engine.prefix() + "/events?filters=" + Filters();
    request.timeout = milliseconds(0);
    request.on_data = [lines](std::string_view piece) { return lines->Take(piece); };
    const std::lock_guard lock(mutex);
    if (stopped) return;
    timer = 0;
    call = engine.http().Start(
        std::move(request), [me = shared_from_this()](const Result<HttpResponse>& end) { me->OnEnd(end); });
    // Whatever happened before the stream was open.
    registry.InBackground([weak = weak_from_this()](Registry& r) {
      if (const auto me = weak.lock()) me->Compare(r);
    });
  }

  void OnEnd(const Result<HttpResponse>& end) {
    const std::lock_guard lock(mutex);
    call = 0;
    if (stopped) return;
    if (!warned) {
      warned = true;
      host.LogInfo("the engine's events ended" + (end ? std::string() : ": " + end.error().message) +
                   "; they are asked for again");
    }
    timer = reactor.At(Reactor::Clock::now() + pause, [me = shared_from_this()] { me->Open(); });
    pause = std::min(pause * 2, kLongestPause);
  }

  // On the reactor's thread.
  void On(const json::Value& event) {
    // Held to the end: the destructor waits, and the registry may go after it.
    const std::lock_guard lock(mutex);
    if (stopped) return;
    pause = kFirstPause;
    warned = false;
    const std::string action(json::GetString(event, "Action").value_or(""));
    if (json::GetString(event, "Type") == "image") {
      if (registry.pool().wanted()) registry.InBackground([](Registry& r) { r.pool().Check(); });
      return;
    }
    const json::Value* actor = json::Find(event, "Actor");
    const std::string id(actor != nullptr ? json::GetString(*actor, "ID").value_or("") : "");
    for (const auto& sandbox : registry.Attached())
      if (sandbox->live().container == id) Tell(*sandbox, action);
  }

  static void Tell(Sandbox& sandbox, const std::string& action) {
    if (action == "oom") sandbox.NoteOom();
    if (action == "pause") sandbox.SetPaused(true);
    if (action == "unpause") sandbox.SetPaused(false);
    if (action == "die") sandbox.MarkEnded("the container ended");
    if (action == "destroy") sandbox.MarkEnded("the container was removed");
  }

  // On a worker.
  void Compare(Registry& r) {
    // First, so that what is made meanwhile is not missed in the list.
    const auto attached = r.Attached();
    auto containers = engine.List(r.names().InstallationFilter(), kAskLimit);
    if (!containers) return;
    for (const auto& sandbox : attached) {
      const std::string id = sandbox->live().container;
      const auto it = std::find_if(containers->begin(), containers->end(),
                                   [&](const ListedContainer& c) { return c.id == id; });
      if (it != containers->end() && it->status == "running" && !sandbox->paused()) continue;
      // The list may be older than an event that came since.
      auto now = engine.Inspect(id, kAskLimit);
      if (!now && now.error().code == CSB_E_NOT_FOUND)
        sandbox->MarkEnded("the container was removed");
      else if (now && !now->alive())
        sandbox->MarkEnded("the container ended");
      else if (now)
        sandbox->SetPaused(now->status == "paused");
    }
    if (r.pool().wanted()) r.pool().Check();
    const std::lock_guard lock(mutex);
    pause = kFirstPause;
  }
};

Watcher::Watcher(HostRef host, Reactor& reactor, Engine& engine, Registry& registry)
    : impl_(std::make_shared<Impl>(host, reactor, engine, registry)) {}

Watcher::~Watcher() {
  HttpClient::CallId call = 0;
  Reactor::TimerId timer = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopped = true;
    std::swap(call, impl_->call);
    std::swap(timer, impl_->timer);
  }
  if (timer != 0) impl_->reactor.CancelTimer(timer);
  if (call != 0) impl_->engine.http().Cancel(call);
}

void Watcher::Start() { impl_->Open(); }

}  // namespace csb::docker

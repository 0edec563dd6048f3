// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/engine.h"

#include <algorithm>
#include <cstdio>
#include <future>

#include "plugins/common/printable.h"
#include "plugins/incus/engine_error.h"
#include "plugins/incus/engine_impl.h"
#include "plugins/incus/engine_json.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMostOutput = 64 << 10;
constexpr size_t kMostList = 64 << 20;
constexpr auto kOpenPause = 5s;
constexpr Engine::Limit kLook = 200ms;
constexpr auto kLogPause = 60s;
constexpr auto kForgetLimit = 10s;  // for what is thrown away in the background

std::string InstancePath(const std::string& name) { return "/1.0/instances/" + UrlEscape(name); }

bool IsPlain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

// "0755"
std::string Octal(int mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode) & 07777u);
  return text;
}

// The words that the engine has for an instance that is what it is to become.
bool IsSoAlready(const Error& error, const std::string& action) {
  const auto says = [&](const char* words) { return error.message.find(words) != std::string::npos; };
  if (action == "start" || action == "unfreeze") return says(" is already running");
  if (action == "stop") return says(" is already stopped");
  return action == "freeze" && says(" is already frozen");
}

}  // namespace

bool ServerInfo::Has(std::string_view extension) const {
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

bool ServerInfo::RunsVms() const { return drivers.find("qemu") != std::string::npos; }

std::string ValueOf(const Config& config, const std::string& key) {
  const auto it = config.find(key);
  return it == config.end() ? std::string() : it->second;
}

std::string InstanceOf(const std::string& used) {
  constexpr std::string_view kPath = "/1.0/instances/";
  if (!used.starts_with(kPath)) return {};
  std::string name = used.substr(kPath.size());
  name.resize(std::min(name.find_first_of("/?"), name.size()));
  return name;
}

std::string TargetQuery(const std::string& member) {
  return member.empty() ? "" : "&target=" + UrlEscape(member);
}

// ---- requests ----

void Engine::Impl::NoteShutdown(int code, std::string_view words) {
  if (!IsShutdown(code, words)) return;
  reactor.Post([self = shared_from_this()] { self->TellShutdown(); });
}

// Once until the stream is open again: many requests are refused while a server stops.
void Engine::Impl::TellShutdown() {
  std::function<void()> told;
  {
    const std::lock_guard lock(mutex);
    if (std::exchange(told_shutdown, true)) return;
    told = handlers.on_shutdown;
  }
  if (told) told();
}

Result<Reply> Engine::Impl::Ask(HttpRequest request, const std::string& what) {
  const Deadline deadline(request.timeout);
  request.timeout = deadline.left();
  auto answer = client.Call(std::move(request));
  if (!answer) return TransportError(client.endpoint(), answer.error());
  auto doc = json::ParseObject(answer->body);
  const AnswerHead head = doc ? ReadHead(*doc) : AnswerHead{};
  if (answer->status >= 400 || head.type == "error") {
    NoteShutdown(answer->status, head.error);
    if (answer->status >= 400) return EngineError(what, *answer);
    return EngineError(what, head.code, head.error);
  }
  if (!doc || (head.type != "sync" && head.type != "async"))
    return Error{CSB_E_UNAVAILABLE, "cannot " + what + ": what answers is no Incus",
                 "check incus.remote (INCUS_REMOTE)", true};
  Reply reply{*std::move(doc), std::move(answer->etag), {}};
  if (head.type == "sync") return reply;
  const OperationInfo begun = ReadOperation(reply.metadata());
  if (begun.id.empty())
    return Error{CSB_E_UNAVAILABLE, "cannot " + what + ": the engine's answer names no operation", "", true};
  auto ended = operations.Await(begun.id, what, deadline.end());
  if (!ended) return ended.error();
  reply.operation = *std::move(ended);
  return reply;
}

Result<Reply> Engine::Impl::Get(const std::string& path, const std::string& what, Limit limit) {
  return Ask({.target = path, .timeout = limit, .max_body = kMostList}, what);
}

Status Engine::Impl::Change(const char* method, const std::string& path, const std::string& what, Limit limit,
                            std::string body, std::vector<std::string> headers) {
  HttpRequest request{.method = method, .target = path, .timeout = limit};
  request.headers = std::move(headers);
  request.body = std::move(body);
  auto reply = Ask(std::move(request), what);
  return reply ? Status() : Status(reply.error());
}

Engine::Engine(Reactor& reactor, std::unique_ptr<HttpClient> client, std::string project)
    : client_(std::move(client)),
      project_(std::move(project)),
      impl_(std::make_shared<Impl>(reactor, *client_, project_, WithProject(""))) {}

Engine::~Engine() { impl_->Close(); }

std::string Engine::WithProject(const std::string& path) const {
  return path + (path.find('?') == std::string::npos ? "?" : "&") + "project=" + UrlEscape(project_);
}

Result<ServerInfo> Engine::Info(Limit limit, Limit max_age) {
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->known &&
        (max_age == Limit::max() || std::chrono::steady_clock::now() - impl_->asked < max_age))
      return impl_->info;
  }
  auto reply = impl_->Get("/1.0" + impl_->query, "ask about the server", limit);
  if (!reply) return reply.error();
  ServerInfo info = ReadServer(reply->metadata());
  if (!info.trusted)
    return EngineError("use the server " + client_->endpoint().url, 403, "it does not trust our certificate");
  if (info.version.empty())
    return Error{CSB_E_UNAVAILABLE, "what answers is no Incus", "check incus.remote (INCUS_REMOTE)", false};
  const std::lock_guard lock(impl_->mutex);
  impl_->info = info;
  impl_->known = true;
  impl_->asked = std::chrono::steady_clock::now();
  return info;
}

// ---- instances ----

Status Engine::CreateInstance(const std::string& body, const std::string& target, Limit limit) {
  std::string name;
  if (auto doc = json::ParseObject(body)) name = json::GetString(*doc, "name").value_or("");
  return impl_->Change("POST", "/1.0/instances" + impl_->query + TargetQuery(target),
                       "create the instance " + name + (target.empty() ? "" : " on " + target), limit, body);
}

Result<InstanceInfo> Engine::Instance(const std::string& name, Limit limit) {
  auto reply = impl_->Get(InstancePath(name) + impl_->query, "look at the instance " + name, limit);
  if (!reply) return reply.error();
  InstanceInfo info = ReadInstance(reply->metadata());
  info.etag = reply->etag;
  return info;
}

Result<std::vector<InstanceInfo>> Engine::Instances(const std::string& key, const std::string& value,
                                                    Limit limit) {
  std::string path = "/1.0/instances" + impl_->query + "&recursion=1";
  // Other values would have to be quoted; what comes is compared anyway.
  if (IsPlain(key) && IsPlain(value)) path += "&filter=" + UrlEscape("config." + key + " eq " + value);
  auto reply = impl_->Get(path, "list instances", limit);
  if (!reply) return reply.error();
  auto out = ReadInstances(reply->metadata());
  std::erase_if(out, [&](const InstanceInfo& i) { return i.Get(key) != value; });
  return out;
}

Result<InstanceState> Engine::State(const std::string& name, Limit limit) {
  return Map<InstanceState>(
      impl_->Get(InstancePath(name) + "/state" + impl_->query, "read the state of " + name, limit),
      ReadState);
}

Status Engine::ChangeState(const std::string& name, const std::string& action, bool force, Limit limit) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(std::min<Limit>(limit, 1h));
  Status changed =
      impl_->Change("PUT", InstancePath(name) + "/state" + impl_->query, action + " the instance " + name,
                    limit, StateBody(action, force, static_cast<int>(seconds.count())));
  return changed || IsSoAlready(changed.error(), action) ? Status() : changed;
}

Status Engine::PatchInstance(const std::string& name, const Config& config, const std::string& etag,
                             Limit limit) {
  std::vector<std::string> headers;
  if (!etag.empty()) headers.push_back("If-Match: " + etag);
  return impl_->Change("PATCH", InstancePath(name) + impl_->query, "change the instance " + name, limit,
                       ConfigBody(config), std::move(headers));
}

Status Engine::ResizeRoot(const std::string& name, const std::string& pool, uint64_t size, Limit limit) {
  return impl_->Change("PATCH", InstancePath(name) + impl_->query, "resize the root of " + name, limit,
                       RootBody(pool, size));
}

// One whose init was killed is "running" to the engine until its monitor has told, and what tells runs hooks
// for half a second; others may be stopping it as well.
Status Engine::DeleteInstance(const std::string& name, Limit limit) {
  const Deadline deadline(limit);
  for (;;) {
    const uint64_t seen = Happened();
    Status done = ChangeState(name, "stop", true, deadline.left());
    if (!done && done.error().code == CSB_E_NOT_FOUND) return {};
    const bool stopped = done.ok();
    // Whether it runs yet is for the engine to say.
    const Status deleted = Gone(impl_->Change("DELETE", InstancePath(name) + impl_->query,
                                              "delete the instance " + name, deadline.left(), ""));
    if (deleted) return deleted;
    done = stopped ? deleted : done;
    const bool busy = (deleted.error().code == CSB_E_CONFLICT && deleted.error().retryable) ||
                      (done.error().code == CSB_E_CONFLICT && done.error().retryable);
    if (!busy || std::chrono::steady_clock::now() >= deadline.end()) return done;
    // An operation that holds the instance ends without an event.
    AwaitEvent(seen, std::min<Limit>(deadline.left(), kLook));
  }
}

Result<Ran> Engine::Run(const std::string& name, const std::vector<std::string>& argv, Limit limit) {
  const std::string what = "run " + (argv.empty() ? "nothing" : argv.front()) + " in " + name;
  if (argv.empty()) return Error{CSB_E_INTERNAL, "cannot " + what, "", false};
  const Deadline deadline(limit);
  HttpRequest request{.method = "POST", .target = InstancePath(name) + "/exec" + impl_->query};
  request.body = ExecBody(argv);
  request.timeout = deadline.left();
  auto reply = impl_->Ask(std::move(request), what);
  Ran ran;
  if (!reply && reply.error().message.ends_with(": Command not found")) {
    ran.exit_code = 127;  // as a shell would
    ran.err = argv.front() + ": command not found\n";
    return ran;
  }
  if (!reply) return reply.error();
  const OperationInfo& op = reply->operation;
  if (!op.exit_code)
    return Error{CSB_E_UNAVAILABLE, "cannot " + what + ": the engine tells no exit code", "", true};
  ran.exit_code = *op.exit_code;
  const auto fetch = [&](const std::string& file, std::string* into) -> Status {
    if (file.empty()) return {};
    const std::string path = InstancePath(name) + "/logs/exec-output/" + file + impl_->query;
    HttpRequest get{.target = path};
    get.timeout = deadline.left();
    get.on_data = [into](std::string_view piece) {
      into->append(piece.substr(0, kMostOutput - into->size()));
      return into->size() < kMostOutput;
    };
    auto answer = client_->Call(std::move(get));
    HttpRequest forget{.method = "DELETE", .target = path, .timeout = kForgetLimit};
    client_->Start(std::move(forget),
                   [](const Result<HttpResponse>&) {});  // goes with the instance otherwise
    if (!answer && into->size() < kMostOutput) return TransportError(client_->endpoint(), answer.error());
    if (answer && answer->status >= 400) return EngineError("read the output of " + argv.front(), *answer);
    return {};
  };
  Status out = fetch(op.out, &ran.out), err = fetch(op.err, &ran.err);
  if (!out) return out.error();
  if (!err) return err.error();
  return ran;
}

Result<std::string> Engine::ConsoleLog(const std::string& name, Limit limit) {
  constexpr size_t kMost = 1 << 10;
  auto answer = client_->Call({.target = InstancePath(name) + "/console" + impl_->query, .timeout = limit});
  if (!answer) return TransportError(client_->endpoint(), answer.error());
  if (answer->status != 200) return EngineError("read the console of " + name, *answer);
  const std::string& all = answer->body;
  return Printable(std::string_view(all).substr(all.size() - std::min(all.size(), kMost)), kMost);
}

Status Engine::PutFile(const std::string& name, const std::string& path, int mode, const std::string& content,
                       Limit limit) {
  return impl_->Change(
      "POST", InstancePath(name) + "/files" + impl_->query + "&path=" + UrlEscape(path),
      "write " + path + " in " + name, limit, content,
      {"X-Incus-type: file", "X-Incus-mode: " + Octal(mode), "X-Incus-uid: 0", "X-Incus-gid: 0",
       "X-Incus-write: overwrite", "Content-Type: application/octet-stream"});
}

Status Engine::MakeFolder(const std::string& name, const std::string& path, int mode, Limit limit) {
  return impl_->Change(
      "POST", InstancePath(name) + "/files" + impl_->query + "&path=" + UrlEscape(path),
      "make the folder " + path + " in " + name, limit, "",
      {"X-Incus-type: directory", "X-Incus-mode: " + Octal(mode), "X-Incus-uid: 0", "X-Incus-gid: 0"});
}

// ---- events ----

void Engine::Listen(Handlers handlers) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->handlers = std::move(handlers);
  }
  impl_->Open();
}

void Engine::Impl::Open() {
  const std::lock_guard lock(mutex);
  if (closed) return;
  const auto open = [this](std::unique_ptr<EventStream>* into, EventStream::Options options,
                           EventStream::Handlers on) {
    if (*into) return true;
    auto opened = EventStream::Open(reactor, client.endpoint(), std::move(options), std::move(on));
    if (opened) *into = *std::move(opened);
    return opened.ok();
  };
  const bool both = open(&events, {.project = project},
                         {.on_event = [this](const EventStream::Event& event) { OnEvent(event); },
                          .on_open = [this] { OnOpen(); },
                          .on_lost = [this](const Error& why) { OnLost(why); }}) &&
                    open(&log, {.types = "logging", .project = project, .longest_pause = kLogPause},
                         {.on_event = [this](const EventStream::Event& event) { OnLog(event); },
                          .on_open = [] {},
                          .on_lost = [](const Error&) {}});
  if (both) return;
  // No thread to be had now; until then operations are asked for.
  reactor.At(Clock::now() + kOpenPause, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->Open();
  });
}

uint64_t Engine::Happened() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->lifecycles;
}

void Engine::AwaitEvent(uint64_t seen, Limit limit) const {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, limit, [&] { return impl_->lifecycles != seen; });
}

void Engine::Impl::OnEvent(const EventStream::Event& event) {
  if (event.type == "operation") return operations.OnEvent(event.metadata);
  if (event.type != "lifecycle") return;
  {
    const std::lock_guard lock(mutex);
    ++lifecycles;
    changed.notify_all();
  }
  const LifecycleInfo info = ReadLifecycle(event.metadata);
  const bool of_images = info.action.starts_with("image-");
  if ((!info.name.empty() || of_images) && handlers.on_lifecycle)
    handlers.on_lifecycle(info.action, info.name, std::string(event.location));
}

// A server that is to stop waits for every command that runs, its event streams open: this line of its log
// is the only one that tells those who ask nothing.
void Engine::Impl::OnLog(const EventStream::Event& event) {
  if (event.type == "logging" && json::GetString(event.metadata, "message") == "Starting shutdown sequence")
    TellShutdown();
}

void Engine::Impl::OnOpen() {
  {
    const std::lock_guard lock(mutex);
    told_shutdown = false;
  }
  operations.SetOpen(true);
  if (handlers.on_open) handlers.on_open();
}

// Of a server that is gone, or to which nothing leads any more.
void Engine::Impl::OnLost(const Error&) {
  operations.SetOpen(false);
  TellShutdown();
}

void Engine::Impl::Close() {
  std::unique_ptr<EventStream> ending, ending_log;
  {
    const std::lock_guard lock(mutex);
    closed = true;
    ending = std::move(events);
    ending_log = std::move(log);
  }
  ending.reset();  // its handlers are through
  ending_log.reset();
  auto through = std::make_shared<std::promise<void>>();
  reactor.Post([self = shared_from_this(), through] {
    // What was posted before is through as well, and what it called.
    {
      const std::lock_guard lock(self->mutex);
      self->handlers = {};
    }
    through->set_value();
  });
  through->get_future().wait();
}

}  // namespace csb::incus

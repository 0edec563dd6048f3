// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/server.h"

#include <dirent.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/base/log.h"
#include "agent/channel/outcome.h"
#include "agent/process/lineage.h"

namespace csb::agent {

using protocol::Kind;

namespace {

constexpr size_t kMaxStreams = 1024;
// How long the end of the agent waits for the end of its commands.
constexpr int64_t kGrace = 2 * kSecond;

std::string RandomHex() {
  unsigned char bytes[16];
  std::string hex;
  if (getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes)) return hex;
  for (const unsigned char byte : bytes) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

uint64_t CountProcesses() {
  uint64_t count = 0;
  DIR* dir = opendir("/proc");
  if (dir == nullptr) return 0;
  while (const dirent* entry = readdir(dir))
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') ++count;
  closedir(dir);
  return count;
}

}  // namespace

Server::Server(Loop& loop, const ServerOptions& options)
    : loop_(loop),
      options_(options),
      pool_(loop, options.identity, options.warm_time_ns),
      oom_(options.oom_events),
      context_{loop, pool_, options_.identity, oom_, [this](Stream& stream) { OnFinished(stream); }},
      contexts_(loop, pool_, options_.commands,
                [this] {
                  if (stopping_) ContinueShutdown();
                }),
      background_(loop,
                  [this] {
                    if (stopping_) ContinueShutdown();
                  }),
      boot_id_(RandomHex()),
      idle_(loop,
            [this] {
              Log("no host was connected for the idle timeout; ending");
              EndMachine();
            }),
      give_up_(loop, [this] {
        Log("some processes did not end in time");
        loop_.Stop();
      }) {}

Server::~Server() = default;

Status Server::Start() {
  if (!StartSignals()) return Error{CSB_E_INTERNAL, std::string("signals: ") + strerror(errno), "", false};
  if (options_.fd >= 0) {
    if (!Serve(Fd(options_.fd), "fd " + std::to_string(options_.fd)))
      return Error{CSB_E_INTERNAL, std::string("--fd: ") + strerror(errno),
                   "give the number of an open socket", false};
    return {};
  }
  if (options_.idle_timeout_ns > 0) idle_.Arm(NowNs() + options_.idle_timeout_ns);
  for (const auto& folder : {options_.control, options_.bridges})
    if (auto dialing = Dial(folder); !dialing) return dialing;
  return {};
}

Status Server::Dial(const std::string& folder) {
  if (folder.empty()) return {};
  dialers_.push_back(std::make_unique<Dialer>(loop_, folder, [this](Fd socket, const std::string& path) {
    return !stopping_ && Serve(std::move(socket), path);
  }));
  return dialers_.back()->Start();
}

void Server::EndMachine() {
  // A signal that came first has somebody else to end the machine.
  if (!stopping_) done_with_machine_ = true;
  Shutdown();
}

bool Server::StartSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGPWR}) sigaddset(&set, number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return false;
  signals_.Reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  return signals_ && signal_watch_.Start(loop_, signals_.get(), EPOLLIN, [this](uint32_t) { OnSignals(); });
}

void Server::OnSignals() {
  signalfd_siginfo info;
  bool child = false;
  bool end = false;
  while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGCHLD) child = true;
    // A signal from inside carries its sender's pid; from the host's side init sees 0. User code of the same
    // uid shall not end the sandbox.
    else if (getpid() != 1 || info.ssi_pid == 0)
      end = true;
  }
  if (child) pool_.Reap();
  if (end) Shutdown();
  if (stopping_) ContinueShutdown();
}

bool Server::Serve(Fd socket, const std::string& name) {
  auto channel = std::make_unique<Channel>(loop_, std::move(socket), name, *this);
  if (!channel->Start()) return false;
  idle_.Cancel();
  channel->Send(Kind::kHello, 0, 0, Hello());
  channels_.push_back(std::move(channel));
  pool_.Warm();
  return true;
}

std::string Server::Hello() const {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "proto", protocol::kVersion);
  json::Member(w, "agent", CSB_VERSION);
  json::Member(w, "boot_id", boot_id_);
  json::Member(w, "uptime_ms", (NowNs() - started_ns_) / kMs);
  json::Member(w, "separate_uids", options_.identity.separate);
  json::Member(w, "running",
               static_cast<uint64_t>(streams_.size() + context_streams_.size() + background_.running()));
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string Server::Stats() const {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", 0);
  w.Key("result");
  w.StartObject();
  json::Member(w, "processes", CountProcesses());
  json::Member(w, "commands",
               static_cast<uint64_t>(streams_.size() + context_streams_.size() + background_.running()));
  json::Member(w, "uptime_ms", (NowNs() - started_ns_) / kMs);
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

void Server::Refuse(Channel& channel, uint32_t id, const Error& error) {
  channel.Send(Kind::kDone, 0, id, ErrorPayload(error));
}

bool Server::OnOpen(Channel& channel, uint32_t stream, bool input, std::string_view payload) {
  const auto request = json::ParseObject(payload);
  if (!request) return false;
  OpenStream(channel, stream, input, *request);
  return true;
}

void Server::OpenStream(Channel& channel, uint32_t id, bool input, const json::Value& request) {
  const auto bad = [&](const char* why) { Refuse(channel, id, {CSB_E_BAD_REQUEST, why, "", false}); };
  const auto op = json::GetString(request, "op");
  if (!op) return bad("op: must be a string");
  static const json::Value kNone(rapidjson::kObjectType);
  const json::Value* args = json::Find(request, "args");
  if (args == nullptr) args = &kNone;
  if (!args->IsObject()) return bad("args: must be an object");
  const auto number = [&](std::string_view name) -> std::optional<uint64_t> {
    const json::Value* value = json::Find(request, name);
    if (value == nullptr) return 0;
    if (!value->IsUint64()) return std::nullopt;
    return value->GetUint64();
  };
  const auto timeout_ms = number("timeout_ms");
  const auto credit = number("credit");
  // A day: beyond any limit of the host's, and far from overflow in nanoseconds.
  if (!timeout_ms || *timeout_ms > 86'400'000)
    return bad("timeout_ms: must be a whole number up to 86400000");
  if (!credit) return bad("credit: must be a whole number, 0 or more");
  if (*op == "agent_stats") return channel.Send(Kind::kDone, 0, id, Stats());
  if (stopping_) return Refuse(channel, id, {CSB_E_GONE, "the sandbox is ending", "", true});
  if (AnswerContexts(channel, id, *op, *args)) return;
  if (streams_.size() + context_streams_.size() + background_streams_.size() >= kMaxStreams)
    return Refuse(channel, id,
                  {CSB_E_NO_CAPACITY, "too many operations at once in this sandbox (1024)",
                   "wait for some to end", true});
  if (OpenBackground(channel, {id, input, *timeout_ms, *credit}, *op, *args)) return;
  if (*op == "execute" &&
      (json::Find(*args, "context") != nullptr || json::GetBool(*args, "results").value_or(false))) {
    auto run = ReadContextRequest(*args, options_.commands.workspace);
    if (!run) return Refuse(channel, id, run.error());
    run->with_input = input;
    run->timeout_ms = *timeout_ms;
    run->credit = *credit;
    return OpenContext(channel, id, *std::move(run));
  }
  auto command = PrepareCommand(*op, *args, options_.commands);
  if (!command) return Refuse(channel, id, command.error());
  auto stream =
      std::make_unique<Stream>(context_, channel, id, input, std::move(*command), *timeout_ms, *credit);
  if (auto started = stream->Start(); !started) return Refuse(channel, id, started.error());
  channel.Add(id, *stream);
  streams_.push_back(std::move(stream));
}

void Server::OpenContext(Channel& channel, uint32_t id, ContextRequest request) {
  auto stream = std::make_unique<ContextStream>(
      loop_, contexts_, oom_, channel, id, std::move(request), [this](ContextStream& finished) {
        loop_.Defer([this, gone = &finished] {
          std::erase_if(context_streams_, [&](const auto& one) { return one.get() == gone; });
          if (stopping_) ContinueShutdown();
        });
      });
  if (auto started = stream->Start(); !started) return Refuse(channel, id, started.error());
  channel.Add(id, *stream);
  context_streams_.push_back(std::move(stream));
}

// False: it is another operation.
bool Server::AnswerContexts(Channel& channel, uint32_t id, std::string_view op, const json::Value& args) {
  const auto answer = [&](const std::string& result) {
    channel.Send(Kind::kDone, 0, id, R"({"code":0,"result":)" + result + "}");
    return true;
  };
  if (op == "context_list") return answer(contexts_.List());
  if (op != "context_delete") return false;
  const auto name = json::GetString(args, "name");
  if (!name) {
    Refuse(channel, id, {CSB_E_INVALID, "name: must be a string", "", false});
    return true;
  }
  return answer(contexts_.Delete(std::string(*name)) ? R"({"status":"deleted"})"
                                                     : R"({"status":"not_found"})");
}

void Server::OnFinished(Stream& stream) {
  // Its own callbacks are still on the stack.
  loop_.Defer([this, gone = &stream] {
    std::erase_if(streams_, [&](const auto& one) { return one.get() == gone; });
    if (stopping_) ContinueShutdown();
  });
}

void Server::OnClosed(Channel& channel) {
  loop_.Defer([this, gone = &channel] {
    const std::string name = gone->name();
    std::erase_if(channels_, [&](const auto& one) { return one.get() == gone; });
    for (auto& dialer : dialers_) dialer->OnClosed(name);
    if (!channels_.empty()) return;
    if (options_.fd >= 0)
      Shutdown();
    else if (options_.idle_timeout_ns > 0 && !stopping_)
      idle_.Arm(NowNs() + options_.idle_timeout_ns);
  });
}

void Server::Shutdown() {
  if (!stopping_) {
    stopping_ = true;
    give_up_.Arm(NowNs() + kGrace);
    for (auto& stream : streams_) stream->Cancel();
    for (auto& stream : context_streams_) stream->Cancel();
    for (auto& stream : background_streams_) stream->Cancel();
    background_.EndAll();
    contexts_.EndAll();
    pool_.ReleaseIdle();
  }
  ContinueShutdown();
}

void Server::ContinueShutdown() {
  if (!streams_.empty() || !context_streams_.empty() || !background_streams_.empty()) return;
  if (background_.running() > 0 || !contexts_.empty()) return;
  pool_.ReleaseIdle();
  if (!pool_.empty()) return;  // until the last supervisor is reaped
  for (auto& channel : channels_) channel->Flush();
  loop_.Stop();
}

}  // namespace csb::agent

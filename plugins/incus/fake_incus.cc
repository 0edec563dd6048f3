// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/fake_incus.h"

#include <algorithm>
#include <cstdio>
#include <thread>

#include "plugins/common/agent_channel_testing.h"
#include "plugins/common/rfc3339.h"
#include "plugins/common/web_socket_fake_server.h"
#include "plugins/incus/engine_json.h"
#include "plugins/incus/names.h"

namespace csb::incus {
namespace {

using csb::testing::FakeAgent;
using csb::testing::FakeServer;
using csb::testing::Served;

std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 2 >= text.size()) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
    i += 2;
  }
  return out;
}

// The value of a parameter, unescaped.
std::string Parameter(const std::string& query, const std::string& name) {
  const size_t at = ("&" + query).find("&" + name + "=");
  if (at == std::string::npos) return {};
  const size_t start = at + name.size() + 1;
  return Unescape(std::string_view(query).substr(start, query.find('&', start) - start));
}

std::vector<std::string> Parts(std::string_view path) {
  std::vector<std::string> out;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view part = path.substr(0, path.find('/'));
    out.push_back(Unescape(part));
    path.remove_prefix(part.size());
  }
  return out;
}

template <typename F>
std::string ToJson(F&& write) {
  json::Buffer buffer;
  json::Writer w(buffer);
  write(w);
  return {buffer.GetString(), buffer.GetSize()};
}

template <typename Items, typename F>
std::string ToArray(const Items& items, F&& write) {
  return ToJson([&](json::Writer& w) {
    w.StartArray();
    for (const auto& [name, item] : items) write(w, item);
    w.EndArray();
  });
}

void WriteConfig(json::Writer& w, const Config& config) {
  w.StartObject();
  for (const auto& [key, value] : config) json::Member(w, key, value);
  w.EndObject();
}

void WriteDevices(json::Writer& w, const char* member, const Devices& devices) {
  json::Key(w, member);
  w.StartObject();
  for (const auto& [name, device] : devices) {
    json::Key(w, name.c_str());
    WriteConfig(w, device);
  }
  w.EndObject();
}

void Write(json::Writer& w, const FakeIncus::Instance& i) {
  w.StartObject();
  json::Member(w, "name", i.name);
  json::Member(w, "type", "container");
  json::Member(w, "status", i.status);
  json::Member(w, "location", i.location);
  json::Member(w, "created_at", i.created);
  json::Key(w, "config");
  WriteConfig(w, i.config);
  WriteDevices(w, "expanded_devices", i.devices);
  w.EndObject();
}

void Write(json::Writer& w, const ProfileInfo& p) {
  w.StartObject();
  json::Member(w, "name", p.name);
  json::Key(w, "config");
  WriteConfig(w, p.config);
  WriteDevices(w, "devices", p.devices);
  w.EndObject();
}

void Write(json::Writer& w, const PoolInfo& p) {
  w.StartObject();
  json::Member(w, "name", p.name);
  json::Member(w, "driver", p.driver);
  json::Member(w, "status", p.status);
  w.EndObject();
}

void Write(json::Writer& w, const FakeIncus::Image& i) {
  w.StartObject();
  json::Member(w, "fingerprint", i.fingerprint);
  json::Member(w, "type", i.type);
  json::Member(w, "size", i.size);
  json::Key(w, "aliases");
  w.StartArray();
  if (!i.alias.empty()) {
    w.StartObject();
    json::Member(w, "name", i.alias);
    w.EndObject();
  }
  w.EndArray();
  if (!i.server.empty()) {
    json::Key(w, "update_source");
    w.StartObject();
    json::Member(w, "server", i.server);
    json::Member(w, "alias", i.remote_alias);
    w.EndObject();
  }
  w.EndObject();
}

void WriteMember(json::Writer& w, const std::string& name, const std::string& status) {
  w.StartObject();
  json::Member(w, "server_name", name);
  json::Member(w, "status", status);
  json::Member(w, "message", status);
  w.EndObject();
}

void WriteVolume(json::Writer& w, const FakeIncus::Volume& v, const std::vector<std::string>& used_by) {
  w.StartObject();
  json::Member(w, "name", v.name);
  json::Member(w, "location", v.location);
  json::Member(w, "created_at", v.created);
  json::Key(w, "config");
  WriteConfig(w, v.config);
  json::Key(w, "used_by");
  w.StartArray();
  for (const std::string& name : used_by) json::String(w, name);
  w.EndArray();
  w.EndObject();
}

std::string ErrorBody(int code, const std::string& words) {
  return ToJson([&](json::Writer& w) {
    w.StartObject();
    json::Member(w, "type", "error");
    json::Member(w, "error_code", code);
    json::Member(w, "error", words);
    w.EndObject();
  });
}

std::string Sync(const std::string& metadata) {
  return R"({"type":"sync","status_code":200,"error_code":0,"error":"","metadata":)" + metadata + "}";
}

const char kAbsent[] = "Instance not found";

}  // namespace

// A command that is reached through websockets: the agent's end of a pair, and the server's.
struct FakeIncus::Exec {
  Exec(std::string of, std::string by, bool mute) : instance(std::move(of)), host(std::move(by)) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    mine.reset(pair[0]);
    agent = std::thread([fd = std::make_shared<UniqueFd>(pair[1]), mute] {
      if (!mute) Play(std::move(*fd));
    });
  }
  ~Exec() {
    End();
    agent.join();
  }

  static void Play(UniqueFd fd) {
    FakeAgent agent(std::move(fd));
    agent.Send(protocol::Kind::kHello, 0, 0, csb::testing::kHelloText);
    while (const auto frame = agent.Next(std::chrono::hours(1))) {
      if (frame->kind == protocol::Kind::kPing)
        agent.Send(protocol::Kind::kPong, 0, frame->stream, frame->payload);
      if (frame->kind != protocol::Kind::kOpen) continue;
      agent.Send(protocol::Kind::kOutput, 1, frame->stream, R"({"seccomp":2,"no_new_privs":1})");
      agent.Send(protocol::Kind::kDone, 0, frame->stream, csb::testing::ProgramDone());
    }
  }

  void End() {
    const std::lock_guard lock(mutex);
    over = true;
    ::shutdown(mine.get(), SHUT_RDWR);
    changed.notify_all();
  }
  bool Over() {
    const std::lock_guard lock(mutex);
    return over;
  }

  void Input(Served& s) {
    for (;;) {
      const std::string bytes = s.Read();
      if (s.code || s.socket.got_text()) return End();
      if (::send(mine.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return;
    }
  }
  void Output(Served& s) {
    char bytes[16 << 10];
    for (ssize_t n = 0; (n = ::recv(mine.get(), bytes, sizeof bytes, 0)) > 0;)
      s.Write(true, {bytes, static_cast<size_t>(n)});
    End();
    s.Write(false, "");
    s.Read();
  }
  void Errors(Served& s) {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return over; });
    }
    s.Write(false, "");
    s.Read();
  }

  const std::string instance, host;
  UniqueFd mine;
  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  std::thread agent;
};

FakeIncus::FakeIncus() : pools_({{.name = "default", .driver = "btrfs", .status = "Created"}}) {
  images_ = {{.fingerprint = "0b2a0b2a0b2a0b2a", .alias = "test"}};
  profiles_["default"] = {.name = "default", .config = {}, .etag = "e0"};
  server_ = std::make_unique<FakeServer>([this](FakeServer::Peer& peer) { Serve(peer); });
}

FakeIncus::~FakeIncus() {
  CutStreams();
  server_.reset();
  execs_.clear();
}

void FakeIncus::CutStreamsOf(const std::string& instance) {
  for (const auto& [id, exec] : execs_)
    if (exec->instance == instance) exec->End();
}

void FakeIncus::CutStreams() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, exec] : execs_) exec->End();
}

void FakeIncus::End(const std::string& instance) {
  const std::lock_guard lock(mutex_);
  if (const auto it = instances_.find(instance); it != instances_.end()) {
    it->second.status = "Stopped";
    it->second.config["volatile.last_state.power"] = "STOPPED";
  }
  CutStreamsOf(instance);
}

void FakeIncus::SetStatus(const std::string& instance, const std::string& status) {
  const std::lock_guard lock(mutex_);
  if (const auto it = instances_.find(instance); it != instances_.end()) it->second.status = status;
}

void FakeIncus::Start(const std::string& instance) {
  const std::lock_guard lock(mutex_);
  if (const auto it = instances_.find(instance); it != instances_.end()) {
    it->second.status = "Running";
    it->second.config["volatile.last_state.power"] = "RUNNING";
  }
}

std::string FakeIncus::NewId() {
  char id[40];
  std::snprintf(id, sizeof id, "00000000-0000-0000-0000-%012llx", static_cast<unsigned long long>(next_++));
  return id;
}

void FakeIncus::Serve(FakeServer::Peer& peer) {
  for (std::string request; !(request = peer.Request()).empty();) {
    const size_t method_end = request.find(' '), target_end = request.find(' ', method_end + 1);
    const std::string method = request.substr(0, method_end);
    const std::string target = request.substr(method_end + 1, target_end - method_end - 1);
    if (target.find("/websocket?secret=") != std::string::npos) return Stream(peer, request, target);
    const Reply reply = Handle(method, target, request);
    std::string status = std::to_string(reply.code) + " Said", body = reply.raw;
    if (body.empty()) body = reply.code < 400 ? Sync(reply.metadata) : ErrorBody(reply.code, reply.metadata);
    if (reply.async) {
      const std::lock_guard lock(mutex_);
      const std::string id = NewId();
      operations_[id] = body;
      status = "202 Accepted";
      body = R"({"type":"async","metadata":{"id":")" + id + R"(","status_code":103}})";
    }
    std::string answer = "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\n";
    if (!reply.etag.empty()) answer += "Etag: \"" + reply.etag + "\"\r\n";
    answer += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    if (!peer.Send(answer)) return;
  }
}

void FakeIncus::Stream(FakeServer::Peer& peer, const std::string& request, const std::string& target) {
  std::shared_ptr<Exec> exec;
  {
    const std::lock_guard lock(mutex_);
    const auto it = execs_.find(Parts(target.substr(0, target.find('?'))).at(2));
    if (it == execs_.end()) return;
    exec = it->second;
  }
  Served served(peer, request);
  if (target.back() == '0') return exec->Input(served);
  if (target.back() == '1') return exec->Output(served);
  exec->Errors(served);
}

FakeIncus::Reply FakeIncus::Handle(const std::string& method, const std::string& target,
                                   const std::string& request) {
  Rule rule;
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(method + " " + target);
    if (down_) return {503, "Shutting down"};
    for (Rule& r : rules_) {
      if (r.times == 0 || r.method != method || target.find(r.part) == std::string::npos) continue;
      --r.times;
      rule = r;
      break;
    }
  }
  if (rule.before) rule.before();
  Reply reply;
  if (rule.part.empty() || rule.done) {
    const std::lock_guard lock(mutex_);
    reply = Do(method, target, request);
  }
  return rule.code == 0 ? reply : Reply{rule.code, rule.message};
}

FakeIncus::Reply FakeIncus::Do(const std::string& method, const std::string& target,
                               const std::string& request) {
  const size_t mark = target.find('?');
  const std::string query = mark == std::string::npos ? "" : target.substr(mark + 1);
  const std::vector<std::string> path = Parts(target.substr(0, mark));
  const std::string body = request.substr(request.find("\r\n\r\n") + 4);
  if (path.size() == 1)
    return {
        200,
        R"({"auth":"trusted","environment":{"server_version":"6.0.4","server_name":"m1","server_clustered":)" +
            std::string(members_.empty() ? "false" : "true") + "}}"};
  if (path[1] == "instances") return OfInstances(method, path, query, body);
  if (path[1] == "profiles") return OfProfiles(method, path, request, body);
  if (path[1] == "storage-pools") return OfPools(method, path, query, body);
  if (path[1] == "images") {
    std::map<size_t, Image> all;
    for (const Image& image : images_) all.emplace(all.size(), image);
    return {200, ToArray(all, [](json::Writer& w, const Image& i) { Write(w, i); })};
  }
  if (path[1] == "operations" && path.size() == 4) {
    const auto it = operations_.find(path[2]);
    if (it == operations_.end()) return {404, "Operation not found"};
    // A failure comes with HTTP status 200.
    return {.raw = it->second};
  }
  if (path[1] == "cluster" && path.size() >= 3) {
    if (path.size() == 3)
      return {200, ToJson([&](json::Writer& w) {
                w.StartArray();
                for (const auto& [name, status] : members_) WriteMember(w, name, status);
                w.EndArray();
              })};
    const auto it = members_.find(path[3]);
    if (it == members_.end()) return {404, "Cluster member not found"};
    if (path.size() == 5)
      return {200, R"({"sysinfo":{"total_ram":17179869184,"free_ram":17179869184,"logical_cpus":4}})"};
    return {200, ToJson([&](json::Writer& w) { WriteMember(w, it->first, it->second); })};
  }
  return {404, "not found"};
}

FakeIncus::Reply FakeIncus::OfInstances(const std::string& method, const std::vector<std::string>& path,
                                        const std::string& query, const std::string& body) {
  if (path.size() == 2 && method == "POST") return Create(query, body);
  if (path.size() == 2)
    return {200, ToArray(instances_, [](json::Writer& w, const Instance& i) { Write(w, i); })};
  const auto it = instances_.find(path[2]);
  if (it == instances_.end()) return {404, kAbsent};
  Instance& instance = it->second;
  if (path.size() == 3) {
    if (method == "GET") return {200, ToJson([&](json::Writer& w) { Write(w, instance); })};
    if (method == "PATCH") {
      if (auto doc = json::ParseObject(body))
        for (const auto& [key, value] : ReadConfig(*doc, "config")) instance.config[key] = value;
      return {};
    }
    if (instance.status == "Running") return {400, "Instance is running"};
    CutStreamsOf(instance.name);
    instances_.erase(it);
    return {.metadata = R"({"id":"","status_code":200})", .async = true};
  }
  if (path[3] == "state" && method == "GET")
    return {200, R"({"status":")" + instance.status + R"(","pid":0})"};
  if (path[3] == "state") return ChangeState(instance, body);
  if (path[3] == "exec") return Execute(instance, body);
  if (path[3] == "files") return {};
  if (path[3] == "console") return {.raw = "the console's last words"};
  if (path[3] == "logs" && method == "DELETE") return {};
  if (path[3] == "logs" && outputs_.contains(path.back())) return {.raw = outputs_[path.back()] + "\n"};
  return {404, "not found"};
}

FakeIncus::Reply FakeIncus::Create(const std::string& query, const std::string& body) {
  auto doc = json::ParseObject(body);
  if (!doc) return {400, "no JSON"};
  Instance made{.name = std::string(json::GetString(*doc, "name").value_or("")),
                .status = "Stopped",
                .config = ReadConfig(*doc, "config"),
                .devices = ReadDevices(*doc, "devices"),
                .created = Rfc3339Now()};
  if (!members_.empty()) made.location = Parameter(query, "target");
  const auto refused = [](int code, const std::string& words) {
    return Reply{.code = code, .metadata = "Failed creating instance record: " + words, .async = true};
  };
  for (const auto& [name, device] : made.devices)
    if (const auto source = device.find("source");
        source != device.end() && device.contains("pool") && !volumes_.contains(source->second))
      return refused(404, "Failed add validation for device \"" + name +
                              "\": Failed loading custom volume: Storage volume not found");
  if (instances_.contains(made.name))
    return refused(500, "UNIQUE constraint failed: instances.project_id, instances.name");
  const bool filler = made.config[kKeyKind] == "filler";
  const bool starts = json::GetBool(*doc, "start").value_or(false);
  const bool stuck = starts && !filler && std::exchange(no_starts_, std::max(0, no_starts_ - 1)) > 0;
  if (starts && !stuck) {
    made.status = "Running";
    made.config["volatile.last_state.power"] = "RUNNING";
  }
  instances_[made.name] = std::move(made);
  if (!filler) ++made_;
  if (stuck) return {.code = 500, .metadata = "Failed to start: out of luck", .async = true};
  return {.metadata = R"({"id":"","status_code":200})", .async = true};
}

FakeIncus::Reply FakeIncus::ChangeState(Instance& instance, const std::string& body) {
  auto doc = json::ParseObject(body);
  const std::string action(doc ? json::GetString(*doc, "action").value_or("") : "");
  const auto refused = [](const std::string& words) {
    return Reply{.code = 400, .metadata = words, .async = true};
  };
  if (instance.status == "Error") return refused("Failed to connect: i/o timeout");
  const bool start = action == "start";
  if (start && instance.status != "Stopped") return refused("The instance is already running");
  if (!start && instance.status == "Stopped") return refused("The instance is already stopped");
  instance.status = start ? "Running" : "Stopped";
  instance.config["volatile.last_state.power"] = start ? "RUNNING" : "STOPPED";
  if (!start) CutStreamsOf(instance.name);
  return {.metadata = R"({"id":"","status_code":200})", .async = true};
}

FakeIncus::Reply FakeIncus::Execute(const Instance& instance, const std::string& body) {
  if (instance.status != "Running") return {400, "Instance is not running"};
  auto doc = json::ParseObject(body);
  if (!doc) return {400, "no JSON"};
  const std::string id = NewId();
  if (json::GetBool(*doc, "record-output").value_or(false)) {
    // Of the list of hosts that are there.
    for (const auto& [operation, exec] : execs_)
      if (exec->instance == instance.name && !exec->Over()) outputs_[id] += exec->host + ".sock\n";
    outputs_.try_emplace(id);
    return {.metadata = R"({"id":")" + id +
                        R"(","status_code":200,"metadata":{"return":0,"output":{"1":"/logs/)" + id +
                        R"("}}})",
            .async = true};
  }
  std::string host;
  for (const auto& word : (*doc)["command"].GetArray()) host = word.GetString();
  execs_[id] = std::make_shared<Exec>(instance.name, host, mute_);
  operations_[id] = Sync(R"({"id":")" + id + R"(","status_code":200,"metadata":{"return":0}})");
  return {.code = 202,
          .raw = R"({"type":"async","metadata":{"id":")" + id +
                 R"(","metadata":{"fds":{"0":"aa00","1":"aa01","2":"aa02","control":"aa03"}}}})"};
}

FakeIncus::Reply FakeIncus::OfProfiles(const std::string& method, const std::vector<std::string>& path,
                                       const std::string& request, const std::string& body) {
  if (path.size() == 2 && method == "GET")
    return {200, ToArray(profiles_, [](json::Writer& w, const ProfileInfo& p) { Write(w, p); })};
  auto doc = json::ParseObject(body);
  const std::string etag = "e" + std::to_string(next_++);
  if (path.size() == 2) {
    const std::string name(doc ? json::GetString(*doc, "name").value_or("") : "");
    if (profiles_.contains(name))
      return {500, "Error inserting \"" + name + "\" into database: The profile already exists"};
    profiles_[name] = {.name = name, .config = ReadConfig(*doc, "config"), .etag = etag};
    return {};
  }
  const auto it = profiles_.find(path[2]);
  if (it == profiles_.end()) return {404, "Profile not found"};
  ProfileInfo& profile = it->second;
  if (method == "GET") return {200, ToJson([&](json::Writer& w) { Write(w, profile); }), profile.etag};
  if (method == "DELETE") {
    profiles_.erase(it);
    return {};
  }
  if (const size_t at = request.find("If-Match: "); at != std::string::npos) {
    std::string wanted = request.substr(at + 10, request.find('\r', at) - at - 10);
    std::erase(wanted, '"');
    if (wanted != profile.etag) return {412, "ETag doesn't match: " + profile.etag + " vs " + wanted};
  }
  profile.config = ReadConfig(*doc, "config");
  profile.etag = etag;
  return {};
}

FakeIncus::Reply FakeIncus::OfPools(const std::string& method, const std::vector<std::string>& path,
                                    const std::string& query, const std::string& body) {
  std::map<std::string, PoolInfo> all;
  for (const PoolInfo& pool : pools_) all[pool.name] = pool;
  if (path.size() == 2) return {200, ToArray(all, [](json::Writer& w, const PoolInfo& p) { Write(w, p); })};
  if (!all.contains(path[2])) return {404, "Storage pool not found"};
  if (path.size() == 3) return {200, ToJson([&](json::Writer& w) { Write(w, all[path[2]]); })};
  return OfVolumes(method, path.size() > 5 ? path[5] : "", query, body);
}

std::vector<std::string> FakeIncus::UsersOf(const Volume& volume) const {
  std::vector<std::string> out = volume.used_by;
  for (const auto& [name, instance] : instances_)
    for (const auto& [device, config] : instance.devices)
      if (const auto it = config.find("source"); it != config.end() && it->second == volume.name)
        out.push_back("/1.0/instances/" + name);
  return out;
}

FakeIncus::Reply FakeIncus::OfVolumes(const std::string& method, const std::string& name,
                                      const std::string& query, const std::string& body) {
  const std::string target = members_.empty() ? "none" : Parameter(query, "target");
  if (name.empty() && method == "POST") {
    auto doc = json::ParseObject(body);
    const std::string made(doc ? json::GetString(*doc, "name").value_or("") : "");
    if (volumes_.contains(made)) return {409, "Volume by that name already exists"};
    volumes_[made] = {
        .name = made, .config = ReadConfig(*doc, "config"), .location = target, .created = Rfc3339Now()};
    return {};
  }
  if (name.empty())
    return {200,
            ToArray(volumes_, [this](json::Writer& w, const Volume& v) { WriteVolume(w, v, UsersOf(v)); })};
  const auto it = volumes_.find(name);
  if (it == volumes_.end()) return {404, "Storage pool volume not found"};
  const std::vector<std::string> users = UsersOf(it->second);
  if (method == "GET") return {200, ToJson([&](json::Writer& w) { WriteVolume(w, it->second, users); })};
  if (method == "PATCH") {
    if (auto doc = json::ParseObject(body))
      for (const auto& [key, value] : ReadConfig(*doc, "config")) it->second.config[key] = value;
    return {};
  }
  if (!users.empty()) return {400, "The storage volume is still in use"};
  volumes_.erase(it);
  return {};
}

}  // namespace csb::incus

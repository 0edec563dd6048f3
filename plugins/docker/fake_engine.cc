// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/fake_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <algorithm>
#include <filesystem>

#include "plugins/common/agent_channel_testing.h"
#include "plugins/docker/engine_json.h"

namespace csb::docker {
namespace {

using csb::testing::FakeAgent;
using csb::testing::FakeServer;

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

template <typename F>
std::string ToJson(F&& write) {
  json::Buffer buffer;
  json::Writer w(buffer);
  write(w);
  return {buffer.GetString(), buffer.GetSize()};
}

std::string MessageBody(const std::string& message) {
  return ToJson([&](json::Writer& w) {
    w.StartObject();
    json::Member(w, "message", message);
    w.EndObject();
  });
}

bool Passes(const std::string& filters, const Labels& labels) {
  auto doc = json::ParseObject(filters);
  const json::Value* wanted = doc ? json::Find(*doc, "label") : nullptr;
  if (wanted == nullptr || !wanted->IsArray()) return true;
  return std::all_of(wanted->Begin(), wanted->End(), [&](const json::Value& label) {
    const std::string text = label.GetString();
    const auto it = labels.find(text.substr(0, text.find('=')));
    return it != labels.end() && it->first + "=" + it->second == text;
  });
}

void WriteMounts(json::Writer& w, const FakeEngine::Container& c) {
  json::Key(w, "Mounts");
  w.StartArray();
  w.StartObject();
  json::Member(w, "Type", c.volume.empty() ? "bind" : "volume");
  if (!c.volume.empty()) json::Member(w, "Name", c.volume);
  json::Member(w, "Source", c.volume.empty() ? c.folder : "/volumes/" + c.volume);
  json::Member(w, "Destination", "/workspace");
  w.EndObject();
  w.EndArray();
}

std::string Inspected(const FakeEngine::Container& c) {
  return ToJson([&](json::Writer& w) {
    w.StartObject();
    json::Member(w, "Id", c.id);
    json::Member(w, "Name", "/" + c.name);
    json::Member(w, "Created", "2026-11-27T00:00:00Z");
    json::Key(w, "State");
    w.StartObject();
    json::Member(w, "Status", c.status);
    json::Member(w, "Pid", c.status == "running" ? static_cast<int>(getpid()) : 0);
    w.EndObject();
    json::Key(w, "Config");
    w.StartObject();
    json::Member(w, "NetworkDisabled", c.network == "none");
    json::Key(w, "Labels");
    WriteLabels(w, c.labels);
    w.EndObject();
    json::Key(w, "HostConfig");
    w.StartObject();
    json::Member(w, "NetworkMode", c.network);
    json::Member(w, "Memory", c.memory);
    json::Member(w, "PidsLimit", c.pids);
    json::Member(w, "NanoCpus", c.nano_cpus);
    w.EndObject();
    WriteMounts(w, c);
    w.EndObject();
  });
}

}  // namespace

// Comes to each socket in the control folder, once; answers until it is ended.
struct FakeEngine::Agent {
  explicit Agent(std::string control, bool mute = false)
      : control_(std::move(control)),
        mute_(mute),
        stop_(eventfd(0, EFD_CLOEXEC)),
        watch_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    inotify_add_watch(watch_.get(), control_.c_str(), IN_CREATE | IN_ATTRIB);
    looker_ = std::thread([this] { Look(); });
  }
  ~Agent() {
    End();
    looker_.join();
    for (std::thread& server : servers_) server.join();
  }
  void End() {
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof one), 8);
    const std::lock_guard lock(mutex_);
    ended_ = true;
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
  }

 private:
  void Look() {
    for (;;) {
      Connect();
      pollfd fds[] = {{stop_.get(), POLLIN, 0}, {watch_.get(), POLLIN, 0}};
      poll(fds, 2, -1);
      if (fds[0].revents != 0) return;
      char events[4096];
      while (read(watch_.get(), events, sizeof events) > 0) {
      }
    }
  }

  // A socket that does not listen yet tells of itself again: its mode is set after that.
  void Connect() {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(control_, error)) {
      const std::string path = entry.path();
      if (known_.contains(path)) continue;
      UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      path.copy(address.sun_path, sizeof address.sun_path - 1);
      if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) continue;
      known_.insert(path);
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      open_.insert(fd.get());
      servers_.emplace_back([this, fd = std::make_shared<UniqueFd>(std::move(fd))] { Serve(*fd); });
    }
  }

  void Serve(UniqueFd& fd) {
    const int raw = fd.get();
    {
      FakeAgent agent(UniqueFd(dup(raw)));
      if (!mute_) agent.Send(protocol::Kind::kHello, 0, 0, csb::testing::kHelloText);
      while (const auto frame = mute_ ? std::nullopt : agent.Next(std::chrono::hours(1))) {
        if (frame->kind == protocol::Kind::kPing)
          agent.Send(protocol::Kind::kPong, 0, frame->stream, frame->payload);
        if (frame->kind != protocol::Kind::kOpen) continue;
        agent.Send(protocol::Kind::kOutput, 1, frame->stream, R"({"seccomp":2,"no_new_privs":1})");
        agent.Send(protocol::Kind::kDone, 0, frame->stream, csb::testing::ProgramDone());
      }
    }
    const std::lock_guard lock(mutex_);
    open_.erase(raw);
    shutdown(raw, SHUT_RDWR);
    fd.reset();
  }

  const std::string control_;
  const bool mute_;
  const UniqueFd stop_, watch_;
  std::set<std::string> known_;
  std::mutex mutex_;
  std::set<int> open_;
  bool ended_ = false;
  std::vector<std::thread> servers_;
  std::thread looker_;
};

FakeEngine::FakeEngine() {
  server_ = std::make_unique<FakeServer>([this](FakeServer::Peer& peer) { Serve(peer); });
}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  server_.reset();
  agents_.clear();
  gone_.clear();
}

std::string FakeEngine::Add(Container container) {
  const std::lock_guard lock(mutex_);
  if (container.id.empty()) container.id = "c" + std::to_string(next_++) + "0000000000";
  const std::string id = container.id;
  if (!container.control.empty() && container.status == "running")
    agents_[id] = std::make_shared<Agent>(container.control);
  containers_[id] = std::move(container);
  return id;
}

void FakeEngine::AddVolume(const std::string& name, const Labels& labels) {
  const std::lock_guard lock(mutex_);
  volumes_[name] = labels;
}

std::map<std::string, FakeEngine::Container>::iterator FakeEngine::Find(const std::string& ref) {
  return std::find_if(containers_.begin(), containers_.end(),
                      [&](const auto& entry) { return entry.first == ref || entry.second.name == ref; });
}

FakeEngine::Container FakeEngine::Of(const std::string& container) const {
  const std::lock_guard lock(mutex_);
  const auto it = const_cast<FakeEngine*>(this)->Find(container);
  return it == containers_.end() ? Container{.status = ""} : it->second;
}

bool FakeEngine::Has(const std::string& container) const { return !Of(container).id.empty(); }

bool FakeEngine::HasVolume(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return volumes_.contains(name);
}

std::vector<FakeEngine::Container> FakeEngine::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<Container> out;
  for (const auto& [id, container] : containers_) out.push_back(container);
  return out;
}

size_t FakeEngine::volumes() const {
  const std::lock_guard lock(mutex_);
  return volumes_.size();
}

size_t FakeEngine::Most() const {
  const std::lock_guard lock(mutex_);
  return most_;
}

void FakeEngine::Mute(bool mute) {
  const std::lock_guard lock(mutex_);
  mute_ = mute;
}

void FakeEngine::Fail(const std::string& method, const std::string& part, const std::string& status,
                      const std::string& message, int times, bool done) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({method, part, status, message, times, done, {}});
}

void FakeEngine::Before(const std::string& method, const std::string& part, std::function<void()> fn) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({method, part, "", "", 1, true, std::move(fn)});
}

void FakeEngine::SetDown(bool down) {
  const std::lock_guard lock(mutex_);
  down_ = down;
}

std::vector<std::string> FakeEngine::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

int FakeEngine::Count(const std::string& start) const {
  const auto all = requests();
  return static_cast<int>(
      std::count_if(all.begin(), all.end(), [&](const std::string& r) { return r.starts_with(start); }));
}

void FakeEngine::End(const std::string& container) {
  const std::lock_guard lock(mutex_);
  const auto it = Find(container);
  if (it == containers_.end()) return;
  it->second.status = "exited";
  Tell(it->first, "die");
  const auto agent = agents_.find(it->first);
  if (agent == agents_.end()) return;
  agent->second->End();
  gone_.push_back(agent->second);
  agents_.erase(agent);
}

void FakeEngine::Tell(const std::string& id, const std::string& action) {
  events_.push_back(R"({"Type":"container","Action":")" + action + R"(","Actor":{"ID":")" + id + "\"}}\n");
  changed_.notify_all();
}

void FakeEngine::SetStatus(const std::string& container, const std::string& status) {
  const std::lock_guard lock(mutex_);
  if (const auto it = Find(container); it != containers_.end()) it->second.status = status;
}

void FakeEngine::Event(const std::string& id, const std::string& action) {
  const std::lock_guard lock(mutex_);
  Tell(id, action);
}

void FakeEngine::RawEvent(const std::string& bytes) {
  const std::lock_guard lock(mutex_);
  events_.push_back(bytes);
  changed_.notify_all();
}

bool FakeEngine::WaitForListener() {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, csb::testing::kPatience, [&] { return listeners_ > 0; });
}

void FakeEngine::CutEvents() {
  const std::lock_guard lock(mutex_);
  ++cuts_;
  changed_.notify_all();
}

void FakeEngine::Serve(FakeServer::Peer& peer) {
  for (std::string request; !(request = peer.Request()).empty();) {
    const size_t method_end = request.find(' '), target_end = request.find(' ', method_end + 1);
    const std::string method = request.substr(0, method_end);
    std::string target = request.substr(method_end + 1, target_end - method_end - 1);
    if (target.starts_with("/v1.")) target.erase(0, target.find('/', 1));
    const std::string body = request.substr(request.find("\r\n\r\n") + 4);
    if (target.starts_with("/events")) return Events(peer);
    const Reply reply = Handle(method, target, body);
    if (!peer.Send(csb::testing::Answer(reply.body, reply.status))) return;
  }
}

void FakeEngine::Events(FakeServer::Peer& peer) {
  std::unique_lock lock(mutex_);
  if (down_) return;
  requests_.push_back("GET /events");
  size_t told = events_.size();
  const int cuts = cuts_;
  if (!peer.Send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")) return;
  ++listeners_;
  changed_.notify_all();
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || cuts_ != cuts || told < events_.size(); });
    if (stopping_ || cuts_ != cuts) break;
    while (told < events_.size()) {
      const std::string event = events_[told++];
      lock.unlock();
      const bool here = peer.Send(event);
      lock.lock();
      if (!here) told = SIZE_MAX;
    }
    if (told == SIZE_MAX) break;
  }
  --listeners_;
}

FakeEngine::Reply FakeEngine::Handle(const std::string& method, const std::string& target,
                                     const std::string& body) {
  Rule rule;
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(method + " " + target);
    if (down_) return {"503 Service Unavailable", MessageBody("the daemon goes")};
    for (Rule& r : rules_) {
      if (r.times == 0 || r.method != method || target.find(r.part) == std::string::npos) continue;
      --r.times;
      rule = r;
      break;
    }
  }
  if (rule.before) rule.before();
  Reply reply;
  if (rule.part.empty() || rule.done) reply = Do(method, target, body);
  return rule.status.empty() ? reply : Reply{rule.status, MessageBody(rule.message)};
}

FakeEngine::Reply FakeEngine::Do(const std::string& method, const std::string& target,
                                 const std::string& body) {
  const std::lock_guard lock(mutex_);
  const size_t mark = target.find('?');
  const std::string path = target.substr(0, mark),
                    query = mark == std::string::npos ? "" : target.substr(mark + 1);
  if (path == "/version")
    return {"200 OK", R"({"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"})"};
  if (path == "/info") return {"200 OK", R"({"ID":"FAKE","DefaultRuntime":"runc","MemoryLimit":true})"};
  if (path.starts_with("/images/"))
    return {"200 OK", R"({"Id":")" + image_id + R"(","Config":{"Env":null}})"};
  if (path == "/containers/create") return Create(Parameter(query, "name"), body);
  if (path == "/containers/json")
    return {"200 OK", ToJson([&](json::Writer& w) {
              w.StartArray();
              for (const auto& [id, c] : containers_) {
                if (!Passes(Parameter(query, "filters"), c.labels)) continue;
                w.StartObject();
                json::Member(w, "Id", id);
                json::Key(w, "Names");
                w.StartArray();
                json::String(w, "/" + c.name);
                w.EndArray();
                json::Member(w, "State", c.status);
                json::Key(w, "Labels");
                WriteLabels(w, c.labels);
                WriteMounts(w, c);
                w.EndObject();
              }
              w.EndArray();
            })};
  if (path.starts_with("/containers/")) {
    const std::string rest = path.substr(12);
    const size_t slash = rest.find('/');
    return OfContainer(method, Unescape(rest.substr(0, slash)),
                       slash == std::string::npos ? "" : rest.substr(slash), query);
  }
  if (path.starts_with("/volumes"))
    return OfVolumes(method, path.size() > 9 ? Unescape(path.substr(9)) : "", query, body);
  if (path == "/networks/create") {
    auto doc = json::ParseObject(body);
    networks_[std::string(doc ? json::GetString(*doc, "Name").value_or("") : "")] = body;
    return {"201 Created", R"({"Id":"n1"})"};
  }
  if (path.starts_with("/networks/") && networks_.contains(Unescape(path.substr(10))))
    return {"200 OK", networks_[Unescape(path.substr(10))]};
  return {"404 Not Found", MessageBody("page not found")};
}

FakeEngine::Reply FakeEngine::Create(const std::string& name, const std::string& body) {
  if (Find(name) != containers_.end()) return {"409 Conflict", MessageBody("the name is in use")};
  auto doc = json::ParseObject(body);
  if (!doc) return {"400 Bad Request", MessageBody("no JSON")};
  const json::Value& host = (*doc)["HostConfig"];
  Container c{.id = "c" + std::to_string(next_++) + "0000000000",
              .name = name,
              .status = "created",
              .labels = ReadLabels(*doc, "Labels"),
              .network = host["NetworkMode"].GetString()};
  const auto number = [&](const char* member) {
    const json::Value* v = json::Find(host, member);
    return v == nullptr ? 0 : v->GetUint64();
  };
  c.memory = number("Memory");
  c.pids = number("PidsLimit");
  c.nano_cpus = number("NanoCpus");
  for (const auto& mount : host["Mounts"].GetArray()) {
    const std::string target = mount["Target"].GetString(), source = mount["Source"].GetString();
    if (target == "/run/clara/ctl") c.control = source;
    if (target == "/workspace")
      (std::string_view(mount["Type"].GetString()) == "volume" ? c.volume : c.folder) = source;
  }
  const std::string id = c.id;
  if (!c.volume.empty()) volumes_.try_emplace(c.volume);
  containers_[id] = std::move(c);
  most_ = std::max(most_, containers_.size());
  return {"201 Created", R"({"Id":")" + id + R"(","Warnings":[]})"};
}

FakeEngine::Reply FakeEngine::OfContainer(const std::string& method, const std::string& ref,
                                          const std::string& rest, const std::string& query) {
  const auto it = Find(ref);
  if (it == containers_.end()) return {"404 Not Found", MessageBody("No such container: " + ref)};
  Container& c = it->second;
  if (method == "GET" && rest == "/json") return {"200 OK", Inspected(c)};
  if (rest == "/start") {
    c.status = "running";
    if (!c.control.empty()) agents_[c.id] = std::make_shared<Agent>(c.control, mute_);
    return {"204 No Content", ""};
  }
  if (rest == "/rename") {
    const std::string name = Parameter(query, "name");
    if (Find(name) != containers_.end()) return {"409 Conflict", MessageBody("the name is in use")};
    c.name = name;
    return {"204 No Content", ""};
  }
  if (method == "DELETE") {
    Tell(c.id, "destroy");
    if (const auto agent = agents_.find(c.id); agent != agents_.end()) {
      agent->second->End();
      gone_.push_back(agent->second);
      agents_.erase(agent);
    }
    containers_.erase(it);
    return {"204 No Content", ""};
  }
  return {"404 Not Found", MessageBody("page not found")};
}

FakeEngine::Reply FakeEngine::OfVolumes(const std::string& method, const std::string& name,
                                        const std::string& query, const std::string& body) {
  const auto one = [](json::Writer& w, const std::string& volume, const Labels& labels) {
    w.StartObject();
    json::Member(w, "Name", volume);
    json::Key(w, "Labels");
    WriteLabels(w, labels);
    w.EndObject();
  };
  if (method == "POST") {
    auto doc = json::ParseObject(body);
    const std::string made(json::GetString(*doc, "Name").value_or(""));
    const auto it = volumes_.try_emplace(made, ReadLabels(*doc, "Labels")).first;
    return {"201 Created", ToJson([&](json::Writer& w) { one(w, made, it->second); })};
  }
  if (name.empty())
    return {"200 OK", ToJson([&](json::Writer& w) {
              w.StartObject();
              json::Key(w, "Volumes");
              w.StartArray();
              for (const auto& [volume, labels] : volumes_)
                if (Passes(Parameter(query, "filters"), labels)) one(w, volume, labels);
              w.EndArray();
              w.EndObject();
            })};
  const auto it = volumes_.find(name);
  if (it == volumes_.end()) return {"404 Not Found", MessageBody("no such volume")};
  if (method == "GET") return {"200 OK", ToJson([&](json::Writer& w) { one(w, name, it->second); })};
  for (const auto& [id, c] : containers_)
    if (c.volume == name) return {"409 Conflict", MessageBody("volume is in use - [" + id + "]")};
  volumes_.erase(it);
  return {"204 No Content", ""};
}

}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
#include "bench/incus_peer.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "bench/web_socket.h"

namespace csb::bench {
namespace {

constexpr char kName[] = "@name@";
constexpr int kUser = 1000;  // incus.user of a host that is not told otherwise

std::string NewName() {
  static std::atomic<int> next{0};
  return "clara-bench-" + std::to_string(getpid()) + "-" + std::to_string(next++);
}

json::Value Text(std::string_view text, json::Document& doc) {
  return json::Value(text.data(), static_cast<rapidjson::SizeType>(text.size()), doc.GetAllocator());
}

// Ours with another first process.
std::string WithSleep(std::string_view raw) {
  constexpr std::string_view kInit = "lxc.init.cmd =";
  std::string out;
  while (!raw.empty()) {
    const size_t end = raw.find('\n');
    const std::string_view line = raw.substr(0, end);
    out += line.starts_with(kInit) ? std::string(kInit) + " /bin/sleep infinity" : std::string(line);
    out += "\n";
    raw.remove_prefix(end == std::string_view::npos ? raw.size() : end + 1);
  }
  return out;
}

}  // namespace

std::string IncusPeer::OnMember(const std::string& path) const {
  return member_.empty() ? path : path + "?target=" + member_;
}

bool IncusPeer::Wait(const std::string& operation, const char* what, json::Document* metadata) {
  const HttpReply reply = client_.Get("/1.0/operations/" + operation + "/wait");
  auto answer = json::ParseObject(reply.body);
  const json::Value* ended = answer ? json::Find(*answer, "metadata") : nullptr;
  // A failed one has the status 200 as well.
  if (ended == nullptr || !ended->IsObject() || json::GetString(*ended, "status") != "Success") {
    fprintf(stderr, "bench: the engine's %s: HTTP %d %.300s\n", what, reply.status, reply.body.c_str());
    return false;
  }
  if (metadata != nullptr) metadata->CopyFrom(*ended, metadata->GetAllocator());
  return true;
}

bool IncusPeer::Do(const HttpReply& reply, const char* what, json::Document* metadata) {
  auto answer = json::ParseObject(reply.body);
  const json::Value* found = answer ? json::Find(*answer, "metadata") : nullptr;
  if (reply.status >= 300 || !answer) {
    fprintf(stderr, "bench: the engine's %s: HTTP %d %.300s\n", what, reply.status, reply.body.c_str());
    return false;
  }
  if (reply.status == 202)
    return Wait(std::string(json::GetString(*found, "id").value_or("")), what, metadata);
  if (metadata != nullptr && found != nullptr) metadata->CopyFrom(*found, metadata->GetAllocator());
  return true;
}

bool IncusPeer::Imitate(const std::string& sandbox) {
  json::Document made;
  if (!Do(client_.Get("/1.0/instances/" + sandbox), "inspect", &made) || !made.IsObject()) return false;
  const json::Value* config = json::Find(made, "config");
  const json::Value* devices = json::Find(made, "devices");
  if (config == nullptr || devices == nullptr) return false;
  installation_ = json::GetString(*config, "user.clara-sandbox.installation").value_or("");
  const std::string member(json::GetString(made, "location").value_or(""));
  member_ = member == "none" ? "" : member;

  json::Document body(rapidjson::kObjectType);
  auto& memory = body.GetAllocator();
  json::Value own(rapidjson::kObjectType), same(*devices, memory), source(rapidjson::kObjectType);
  for (const auto& [key, value] : config->GetObject()) {
    const std::string_view name(key.GetString(), key.GetStringLength());
    // Not the sandbox's labels, by which a host would take it for its own.
    if (name.starts_with("volatile.") || name.starts_with("user.") || name.starts_with("image.")) continue;
    json::Value copy(value, memory);
    if (name == "raw.lxc") copy = Text(WithSleep({value.GetString(), value.GetStringLength()}), body);
    own.AddMember(json::Value(key, memory), copy, memory);
  }
  for (auto& [name, device] : same.GetObject()) {
    if (json::GetString(device, "path") == "/") pool_ = json::GetString(device, "pool").value_or("");
    if (json::Find(device, "pool") != nullptr && json::Find(device, "source") != nullptr)
      device["source"] = Text(kName, body);
  }
  source.AddMember("type", "image", memory)
      .AddMember("fingerprint", Text(json::GetString(*config, "volatile.base_image").value_or(""), body),
                 memory);
  body.AddMember("name", Text(kName, body), memory)
      .AddMember("type", "container", memory)
      .AddMember("profiles", json::Value(rapidjson::kArrayType), memory)
      .AddMember("start", true, memory)
      .AddMember("config", own, memory)
      .AddMember("devices", same, memory)
      .AddMember("source", source, memory);
  template_ = json::ToString(body);
  return !pool_.empty();
}

std::string IncusPeer::Launch() {
  const std::string name = NewName();
  const std::string volume = R"({"name":")" + name + R"(","type":"custom","content_type":"filesystem"})";
  if (!Do(client_.Post(OnMember("/1.0/storage-pools/" + pool_ + "/volumes/custom"), volume),
          "create of a volume"))
    return {};
  volumes_.push_back(name);
  std::string body = template_;
  for (size_t at; (at = body.find(kName)) != std::string::npos;) body.replace(at, strlen(kName), name);
  return Do(client_.Post(OnMember("/1.0/instances"), body), "create") ? name : "";
}

bool IncusPeer::Exec(const std::string& id, const std::vector<std::string>& argv,
                     const std::string& expected) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "interactive", false);
  json::Member(w, "wait-for-websocket", true);
  json::Member(w, "user", kUser);
  json::Member(w, "group", kUser);
  json::Member(w, "cwd", "/workspace");
  json::Key(w, "command");
  w.StartArray();
  for (const std::string& arg : argv) json::String(w, arg);
  w.EndArray();
  w.EndObject();
  const HttpReply made = client_.Post("/1.0/instances/" + id + "/exec", buffer.GetString());
  auto answer = json::ParseObject(made.body);
  const json::Value* operation = answer ? json::Find(*answer, "metadata") : nullptr;
  const json::Value* inner = operation != nullptr ? json::Find(*operation, "metadata") : nullptr;
  const json::Value* secrets = inner != nullptr ? json::Find(*inner, "fds") : nullptr;
  if (made.status != 202 || secrets == nullptr) {
    fprintf(stderr, "bench: the engine's exec: HTTP %d %.300s\n", made.status, made.body.c_str());
    return false;
  }
  const std::string operation_id(json::GetString(*operation, "id").value_or(""));
  const auto target = [&](const char* fd) {
    return "/1.0/operations/" + operation_id +
           "/websocket?secret=" + std::string(json::GetString(*secrets, fd).value_or(""));
  };
  WebSocket in(socket_path_, target("0")), out(socket_path_, target("1")), err(socket_path_, target("2"));
  std::string said, complaint;
  if (!in.good() || !out.good() || !err.good() || !out.ReadAll(&said) || !err.ReadAll(&complaint)) {
    fprintf(stderr, "bench: the streams of the engine's exec broke off\n");
    return false;
  }
  json::Document ended;
  if (!Wait(operation_id, "exec", &ended)) return false;
  const json::Value* result = json::Find(ended, "metadata");
  const json::Value* code = result != nullptr ? json::Find(*result, "return") : nullptr;
  const bool good = code != nullptr && code->IsInt() && code->GetInt() == 0 && said == expected;
  if (!good)
    fprintf(stderr, "bench: the engine's exec said: %.300s%.300s\n", said.c_str(), complaint.c_str());
  return good;
}

bool IncusPeer::Remove(const std::string& id) {
  const std::string path = "/1.0/instances/" + id;
  return Do(client_.Put(path + "/state", "application/json",
                        R"({"action":"stop","force":true,"timeout":30})"),
            "stop") &&
         Do(client_.Delete(path), "delete");
}

void IncusPeer::RemoveVolumes() {
  for (const std::string& volume : volumes_)
    Do(client_.Delete(OnMember("/1.0/storage-pools/" + pool_ + "/volumes/custom/" + volume)),
       "delete of a volume");
  volumes_.clear();
}

int IncusPeer::Pooled(const std::string& installation) {
  json::Document list;
  if (!Do(client_.Get("/1.0/instances?recursion=1"), "list", &list) || !list.IsArray()) return -1;
  int count = 0;
  for (const json::Value& each : list.GetArray()) {
    const json::Value* config = json::Find(each, "config");
    count += config != nullptr && json::GetString(each, "status") == "Running" &&
             json::GetString(*config, "user.clara-sandbox.kind") == "pool" &&
             json::GetString(*config, "user.clara-sandbox.installation") == installation;
  }
  return count;
}

}  // namespace csb::bench

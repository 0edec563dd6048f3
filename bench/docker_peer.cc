// SPDX-License-Identifier: Apache-2.0
#include "bench/docker_peer.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "clara_sandbox/cpp/json.h"

namespace csb::bench {
namespace {

constexpr char kApi[] = "/v1.41";
constexpr char kVolume[] = "@volume@";
constexpr char kUser[] = "1000:1000";  // docker.user of a host that is not told otherwise

std::string NewVolume() {
  static std::atomic<int> next{0};
  return "clara-bench-" + std::to_string(getpid()) + "-" + std::to_string(next++);
}

json::Value Text(const std::string& text, json::Document& doc) {
  return json::Value(text.c_str(), doc.GetAllocator());
}

// The 8-byte heads of a stream that carries stdout and stderr are left out.
std::string Unframed(const std::string& stream) {
  std::string out;
  for (size_t at = 0; at + 8 <= stream.size();) {
    uint32_t size = 0;
    for (size_t i = 4; i < 8; ++i) size = size << 8 | static_cast<unsigned char>(stream[at + i]);
    out += stream.substr(at + 8, size);
    at += 8 + size;
  }
  return out;
}

// Query text: only what the filters below have in them needs escaping.
std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    char code[4];
    if (strchr("{}[]\":,=", c) != nullptr) {
      snprintf(code, sizeof code, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += code;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

bool DockerPeer::Is(int status, const HttpReply& reply, const char* what) {
  if (reply.status == status) return true;
  fprintf(stderr, "bench: the engine's %s: HTTP %d %.300s\n", what, reply.status, reply.body.c_str());
  return false;
}

bool DockerPeer::Imitate(const std::string& container) {
  const HttpReply reply = client_.Get(kApi + ("/containers/" + container) + "/json");
  if (!Is(200, reply, "inspect")) return false;
  auto made = json::ParseObject(reply.body);
  const json::Value* config = made ? json::Find(*made, "Config") : nullptr;
  const json::Value* host_config = made ? json::Find(*made, "HostConfig") : nullptr;
  const json::Value* labels = config == nullptr ? nullptr : json::Find(*config, "Labels");
  if (host_config == nullptr || labels == nullptr) return false;
  installation_ = json::GetString(*labels, "clara-sandbox.installation").value_or("");

  json::Document body(rapidjson::kObjectType);
  auto& memory = body.GetAllocator();
  for (const char* same : {"Image", "Hostname", "WorkingDir", "User", "NetworkDisabled", "Healthcheck"})
    if (const json::Value* value = json::Find(*config, same))
      body.AddMember(rapidjson::StringRef(same), json::Value(*value, memory), memory);
  json::Value command(rapidjson::kArrayType), none(rapidjson::kArrayType), own(rapidjson::kObjectType);
  command.PushBack("sleep", memory).PushBack("infinity", memory);
  // Not the sandbox's labels, by which a host would take it for its own.
  own.AddMember("clara-sandbox-bench", "peer", memory);
  body.AddMember("Entrypoint", none, memory)
      .AddMember("Cmd", command, memory)
      .AddMember("Labels", own, memory);
  json::Value same(*host_config, memory);
  if (const auto mounts = same.FindMember("Mounts"); mounts != same.MemberEnd() && mounts->value.IsArray())
    for (json::Value& mount : mounts->value.GetArray())
      if (json::GetString(mount, "Type") == "volume") mount["Source"] = Text(kVolume, body);
  body.AddMember("HostConfig", same, memory);
  template_ = json::ToString(body);
  return true;
}

std::string DockerPeer::Body(const std::string& volume) const {
  std::string body = template_;
  if (const size_t at = body.find(kVolume); at != std::string::npos)
    body.replace(at, strlen(kVolume), volume);
  return body;
}

std::string DockerPeer::Create() {
  volumes_.push_back(NewVolume());
  const HttpReply reply =
      client_.Post(kApi + ("/containers/create?name=" + volumes_.back()), Body(volumes_.back()));
  if (!Is(201, reply, "create")) return {};
  auto made = json::ParseObject(reply.body);
  return made ? std::string(json::GetString(*made, "Id").value_or("")) : "";
}

std::string DockerPeer::Launch() {
  const std::string id = Create();
  return !id.empty() && Is(204, client_.Post(kApi + ("/containers/" + id) + "/start", ""), "start") ? id : "";
}

bool DockerPeer::Exec(const std::string& id, const std::vector<std::string>& argv,
                      const std::string& expected) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "AttachStdout", true);
  json::Member(w, "AttachStderr", true);
  json::Member(w, "User", kUser);
  json::Key(w, "Cmd");
  w.StartArray();
  for (const std::string& arg : argv) json::String(w, arg);
  w.EndArray();
  w.EndObject();
  const HttpReply made = client_.Post(kApi + ("/containers/" + id) + "/exec", buffer.GetString());
  if (!Is(201, made, "exec")) return false;
  auto exec = json::ParseObject(made.body);
  const std::string exec_id(exec ? json::GetString(*exec, "Id").value_or("") : "");
  // The engine turns the connection of a start into the command's stream, and closes it at the end.
  HttpClient stream(socket_path_);
  const HttpReply reply =
      stream.Post(kApi + ("/exec/" + exec_id) + "/start", R"({"Detach":false,"Tty":false})");
  if (!Is(200, reply, "exec start")) return false;
  const std::string output = Unframed(reply.body);
  if (output != expected) fprintf(stderr, "bench: the engine's exec said: %.300s\n", output.c_str());
  return output == expected;
}

bool DockerPeer::Remove(const std::string& id) {
  return Is(204, client_.Delete(kApi + ("/containers/" + id) + "?force=1"), "remove");
}

void DockerPeer::RemoveVolumes() {
  for (const std::string& volume : volumes_)
    Is(204, client_.Delete(kApi + ("/volumes/" + volume)), "remove of a volume");
  volumes_.clear();
}

bool DockerPeer::Put(const std::string& id, const std::string& folder, const std::string& tar) {
  const std::string target = kApi + ("/containers/" + id) + "/archive?path=" + folder;
  return Is(200, client_.Put(target, "application/x-tar", tar), "archive");
}

bool DockerPeer::Get(const std::string& id, const std::string& path, uint64_t* size) {
  return Is(200, client_.GetRaw(kApi + ("/containers/" + id) + "/archive?path=" + path, size), "archive");
}

int DockerPeer::Pooled(const std::string& installation) {
  const std::string filters = R"({"label":["clara-sandbox.installation=)" + installation +
                              R"("],"name":["-pool-"],"status":["running"]})";
  const HttpReply reply = client_.Get(kApi + ("/containers/json?filters=" + Escaped(filters)));
  if (!Is(200, reply, "list")) return -1;
  auto list = json::Parse(reply.body);
  return list && list->IsArray() ? static_cast<int>(list->Size()) : -1;
}

// POSIX ustar: one header, the bytes, and zeros up to the end of a record.
std::string TarOf(const std::string& name, uint64_t size) {
  char header[512] = {};
  name.copy(header, 100);
  strcpy(header + 100, "0000644");
  strcpy(header + 108, "0001750");  // 1000
  strcpy(header + 116, "0001750");
  snprintf(header + 124, 12, "%011o", static_cast<unsigned>(size));
  strcpy(header + 136, "00000000000");
  memset(header + 148, ' ', 8);
  header[156] = '0';
  memcpy(header + 257, "ustar\00000", 8);
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  snprintf(header + 148, 8, "%06o", sum);
  std::string tar(header, sizeof header);
  tar.append(size, 'x');
  tar.resize((tar.size() + 511) / 512 * 512 + 1024, '\0');
  return tar;
}

}  // namespace csb::bench

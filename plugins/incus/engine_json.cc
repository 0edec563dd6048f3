// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/engine_json.h"

#include <algorithm>
#include <cmath>

#include "plugins/common/printable.h"

namespace csb::incus {
namespace {

constexpr size_t kMostText = 4096;
constexpr size_t kLeastFingerprint = 12;

std::string Text(const json::Value& object, const char* member) {
  return std::string(json::GetString(object, member).value_or("").substr(0, kMostText));
}

// A member of a member; an empty object when there is none.
const json::Value& Inner(const json::Value& object, const char* member) {
  static const json::Value kNone(rapidjson::kObjectType);
  const json::Value* v = json::Find(object, member);
  return v != nullptr && v->IsObject() ? *v : kNone;
}

uint64_t Count(const json::Value& object, const char* member) {
  const json::Value* v = json::Find(object, member);
  if (v == nullptr) return 0;
  if (v->IsUint64()) return v->GetUint64();
  return v->IsDouble() && v->GetDouble() > 0 && v->GetDouble() < 9e18 ? static_cast<uint64_t>(v->GetDouble())
                                                                      : 0;
}

int Code(const json::Value& object, const char* member) {
  return static_cast<int>(std::min<uint64_t>(Count(object, member), INT32_MAX));
}

template <typename F>
void EachItem(const json::Value& array, F&& f) {
  if (!array.IsArray()) return;
  for (const auto& item : array.GetArray()) f(item);
}

std::vector<std::string> Texts(const json::Value& object, const char* member) {
  std::vector<std::string> out;
  if (const json::Value* v = json::Find(object, member))
    EachItem(*v, [&](const json::Value& item) {
      if (item.IsString()) out.emplace_back(item.GetString(), item.GetStringLength());
    });
  return out;
}

// "/1.0/instances/NAME/logs/exec-output/exec_ID.stdout": the last part; "" unless it is one file's name.
std::string LogName(const json::Value& outputs, const char* fd) {
  const std::string path = Text(outputs, fd);
  const size_t query = path.find('?');
  const std::string_view plain = std::string_view(path).substr(0, query);
  const size_t slash = plain.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? "" : plain.substr(slash + 1);
  return IsFileName(name) ? std::string(name) : std::string();
}

template <typename T, typename F>
std::vector<T> Named(const json::Value& metadata, F&& read) {
  std::vector<T> out;
  EachItem(metadata, [&](const json::Value& item) {
    T one = read(item);
    if (!one.name.empty()) out.push_back(std::move(one));
  });
  return out;
}

template <typename F>
std::string Object(F&& write) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  write(w);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

void WriteConfig(json::Writer& w, const Config& config) {
  json::Key(w, "config");
  w.StartObject();
  for (const auto& [key, value] : config) json::Member(w, key, value);
  w.EndObject();
}

}  // namespace

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    if (dash ? text[i] != '-' : !hex) return false;
  }
  return true;
}

bool IsFileName(std::string_view text) {
  if (text.empty() || text.size() > 128 || text == "." || text == "..") return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

AnswerHead ReadHead(const json::Value& doc) {
  return {Text(doc, "type"), Code(doc, "error_code"), Text(doc, "error")};
}

const json::Value& Metadata(const json::Value& doc) {
  static const json::Value kNull;
  const json::Value* v = json::Find(doc, "metadata");
  return v != nullptr ? *v : kNull;
}

OperationInfo ReadOperation(const json::Value& metadata) {
  OperationInfo out;
  out.id = Text(metadata, "id");
  if (!IsUuid(out.id)) out.id.clear();
  out.status = Code(metadata, "status_code");
  out.error = Text(metadata, "err");
  out.location = Text(metadata, "location");
  const json::Value& result = Inner(metadata, "metadata");
  if (const auto code = json::GetInt(result, "return"); code && *code >= -1 && *code <= 255)
    out.exit_code = static_cast<int>(*code);
  const json::Value& outputs = Inner(result, "output");
  out.out = LogName(outputs, "1");
  out.err = LogName(outputs, "2");
  return out;
}

Config ReadConfig(const json::Value& object, const char* member) {
  Config out;
  for (const auto& entry : Inner(object, member).GetObject())
    if (entry.value.IsString())
      out.emplace(std::string(entry.name.GetString(), entry.name.GetStringLength()),
                  std::string(entry.value.GetString(), entry.value.GetStringLength()));
  return out;
}

Devices ReadDevices(const json::Value& object, const char* member) {
  Devices out;
  const json::Value& devices = Inner(object, member);
  for (const auto& device : devices.GetObject()) {
    const std::string name(device.name.GetString(), device.name.GetStringLength());
    if (device.value.IsObject()) out.emplace(name, ReadConfig(devices, name.c_str()));
  }
  return out;
}

LifecycleInfo ReadLifecycle(const json::Value& metadata) {
  constexpr std::string_view kInstances = "/1.0/instances/";
  LifecycleInfo out{Text(metadata, "action"), ""};
  const std::string source = Text(metadata, "source");  // "/1.0/instances/m1?project=p"
  if (!source.starts_with(kInstances)) return out;
  const std::string_view rest = std::string_view(source).substr(kInstances.size());
  const std::string_view name = rest.substr(0, rest.find_first_of("?/"));
  if (IsFileName(name)) out.name = name;
  return out;
}

ServerInfo ReadServer(const json::Value& metadata) {
  ServerInfo out;
  out.trusted = Text(metadata, "auth") == "trusted";
  out.extensions = Texts(metadata, "api_extensions");
  const json::Value& e = Inner(metadata, "environment");
  out.version = Text(e, "server_version");
  out.name = Text(e, "server_name");
  out.clustered = json::GetBool(e, "server_clustered").value_or(false);
  if (!out.clustered) out.name = "none";
  out.fingerprint = Text(e, "certificate_fingerprint");
  out.architecture = Text(e, "kernel_architecture");
  out.kernel = Text(e, "kernel");
  out.kernel_version = Text(e, "kernel_version");
  out.drivers = Text(e, "driver");
  out.driver_versions = Text(e, "driver_version");
  out.addresses = Texts(e, "addresses");
  out.storages = Text(e, "storage");
  out.project = Text(e, "project");
  return out;
}

InstanceInfo ReadInstance(const json::Value& metadata) {
  InstanceInfo out;
  out.name = Text(metadata, "name");
  out.type = Text(metadata, "type");
  out.status = Text(metadata, "status");
  out.location = Text(metadata, "location");
  out.created = Text(metadata, "created_at");
  out.config = ReadConfig(metadata, "config");
  out.devices = ReadDevices(metadata, "expanded_devices");
  return out;
}

std::vector<InstanceInfo> ReadInstances(const json::Value& metadata) {
  return Named<InstanceInfo>(metadata, ReadInstance);
}

InstanceState ReadState(const json::Value& metadata) {
  InstanceState out;
  out.status = Text(metadata, "status");
  out.pid = static_cast<pid_t>(std::min<uint64_t>(Count(metadata, "pid"), INT32_MAX));
  out.processes = std::max<int64_t>(-1, json::GetInt(metadata, "processes").value_or(-1));
  out.memory = Count(Inner(metadata, "memory"), "usage");
  out.cpu_ns = Count(Inner(metadata, "cpu"), "usage");
  out.disk = Count(Inner(Inner(metadata, "disk"), "root"), "usage");
  return out;
}

ProfileInfo ReadProfile(const json::Value& metadata) {
  return {Text(metadata, "name"), ReadConfig(metadata, "config"), "", ReadDevices(metadata, "devices")};
}

std::vector<ProfileInfo> ReadProfiles(const json::Value& metadata, std::string_view prefix) {
  auto out = Named<ProfileInfo>(metadata, ReadProfile);
  std::erase_if(out, [&](const ProfileInfo& p) { return !p.name.starts_with(prefix); });
  return out;
}

VolumeInfo ReadVolume(const json::Value& metadata) {
  return {Text(metadata, "name"), Text(metadata, "location"), ReadConfig(metadata, "config"),
          Texts(metadata, "used_by"), Text(metadata, "created_at")};
}

std::vector<VolumeInfo> ReadVolumes(const json::Value& metadata, std::string_view prefix) {
  auto out = Named<VolumeInfo>(metadata, ReadVolume);
  std::erase_if(out, [&](const VolumeInfo& v) { return !v.name.starts_with(prefix); });
  return out;
}

PoolInfo ReadPool(const json::Value& metadata) {
  PoolInfo out;
  out.name = Text(metadata, "name");
  out.driver = Text(metadata, "driver");
  out.status = Text(metadata, "status");
  out.config = ReadConfig(metadata, "config");
  return out;
}

std::vector<PoolInfo> ReadPools(const json::Value& metadata) { return Named<PoolInfo>(metadata, ReadPool); }

void ReadSpace(const json::Value& metadata, PoolInfo* pool) {
  const json::Value& space = Inner(metadata, "space");
  pool->used = Count(space, "used");
  pool->total = Count(space, "total");
}

std::vector<ImageInfo> FindImages(const json::Value& metadata, std::string_view name) {
  std::vector<ImageInfo> out;
  EachItem(metadata, [&](const json::Value& item) {
    ImageInfo image{Text(item, "fingerprint"), Text(item, "type"), Text(item, "architecture"),
                    ReadConfig(item, "properties"), Count(item, "size")};
    if (image.fingerprint.empty()) return;
    bool named = name.size() >= kLeastFingerprint && image.fingerprint.starts_with(name);
    if (const json::Value* aliases = json::Find(item, "aliases"))
      EachItem(*aliases, [&](const json::Value& alias) {
        named = named || (!name.empty() && json::GetString(alias, "name") == name);
      });
    if (named) out.push_back(std::move(image));
  });
  return out;
}

std::vector<ImageInfo> FindCached(const json::Value& metadata, std::string_view server,
                                  std::string_view alias) {
  std::vector<ImageInfo> out;
  EachItem(metadata, [&](const json::Value& item) {
    const json::Value& source = Inner(item, "update_source");
    if (Text(source, "server") != server || Text(source, "alias") != alias) return;
    out.push_back({Text(item, "fingerprint"), Text(item, "type"), Text(item, "architecture"),
                   ReadConfig(item, "properties"), Count(item, "size")});
    if (out.back().fingerprint.empty()) out.pop_back();
  });
  return out;
}

std::string FindWarning(const json::Value& metadata, std::string_view type) {
  std::string out;
  EachItem(metadata, [&](const json::Value& item) {
    if (Text(item, "type") == type) out = Printable(Text(item, "last_message"), 256);
  });
  return out;
}

NetworkInfo ReadNetwork(const json::Value& metadata) {
  return {Text(metadata, "name"), Text(metadata, "type"), json::GetBool(metadata, "managed").value_or(false),
          ReadConfig(metadata, "config"), Text(metadata, "status")};
}

MemberInfo ReadMember(const json::Value& metadata) {
  return {Text(metadata, "server_name"), Text(metadata, "url"),    Text(metadata, "status"),
          Text(metadata, "message"),     Texts(metadata, "roles"), Texts(metadata, "groups"),
          Text(metadata, "architecture")};
}

std::vector<MemberInfo> ReadMembers(const json::Value& metadata) {
  return Named<MemberInfo>(metadata, ReadMember);
}

MemberLoad ReadLoad(const json::Value& metadata) {
  MemberLoad out;
  const json::Value& info = Inner(metadata, "sysinfo");
  out.memory_total = Count(info, "total_ram");
  // What caches hold is given back when it is wanted.
  out.memory_free = Count(info, "free_ram") + Count(info, "buffered_ram");
  out.memory_free = std::min(out.memory_free, out.memory_total);
  out.cpus = Count(info, "logical_cpus");
  const json::Value* loads = json::Find(info, "load_averages");
  if (loads != nullptr && loads->IsArray() && !loads->Empty() && (*loads)[0].IsNumber()) {
    const double load = (*loads)[0].GetDouble();
    if (std::isfinite(load) && load > 0) out.load = load;
  }
  return out;
}

std::string RootBody(const std::string& pool, uint64_t size) {
  return Object([&](json::Writer& w) {
    json::Key(w, "devices");
    w.StartObject();
    json::Key(w, "root");
    w.StartObject();
    json::Member(w, "type", "disk");
    json::Member(w, "path", "/");
    json::Member(w, "pool", pool);
    json::Member(w, "size", std::to_string(size));
    w.EndObject();
    w.EndObject();
  });
}

std::string CopyBody(const std::string& pool, const std::string& name, const std::string& description,
                     const Config& config, const std::string& from) {
  return Object([&](json::Writer& w) {
    json::Member(w, "name", name);
    json::Member(w, "type", "custom");
    json::Member(w, "content_type", "filesystem");
    json::Member(w, "description", description);
    WriteConfig(w, config);
    json::Key(w, "source");
    w.StartObject();
    json::Member(w, "type", "copy");
    json::Member(w, "pool", pool);
    json::Member(w, "name", name);
    json::Member(w, "location", from);
    w.EndObject();
  });
}

std::string ProfileBody(const std::string& name, const std::string& description, const Config& config) {
  return Object([&](json::Writer& w) {
    if (!name.empty()) json::Member(w, "name", name);
    json::Member(w, "description", description);
    WriteConfig(w, config);
    json::Key(w, "devices");
    w.StartObject();
    w.EndObject();
  });
}

std::string VolumeBody(const std::string& name, const std::string& description, const Config& config) {
  return Object([&](json::Writer& w) {
    json::Member(w, "name", name);
    json::Member(w, "description", description);
    json::Member(w, "type", "custom");
    json::Member(w, "content_type", "filesystem");
    WriteConfig(w, config);
  });
}

std::string NetworkBody(const std::string& name, const Config& config) {
  return Object([&](json::Writer& w) {
    json::Member(w, "name", name);
    json::Member(w, "type", "bridge");
    WriteConfig(w, config);
  });
}

std::string ConfigBody(const Config& config) {
  return Object([&](json::Writer& w) { WriteConfig(w, config); });
}

std::string StateBody(const std::string& action, bool force, int seconds) {
  return Object([&](json::Writer& w) {
    json::Member(w, "action", action);
    json::Member(w, "force", force);
    json::Member(w, "timeout", seconds);
  });
}

std::string ExecBody(const std::vector<std::string>& argv) {
  return Object([&](json::Writer& w) {
    json::Key(w, "command");
    w.StartArray();
    for (const std::string& argument : argv) json::String(w, argument);
    w.EndArray();
    json::Member(w, "record-output", true);
    json::Member(w, "wait-for-websocket", false);
    json::Member(w, "interactive", false);
  });
}

}  // namespace csb::incus

// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/engine_json.h"

#include <algorithm>

#include "plugins/common/printable.h"

namespace csb::docker {
namespace {

constexpr size_t kMostText = 4096;
constexpr size_t kMostSaid = 512;

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

template <typename F>
void Each(const json::Value& object, const char* member, F&& f) {
  const json::Value* v = member == nullptr ? &object : json::Find(object, member);
  if (v == nullptr || !v->IsArray()) return;
  for (const auto& item : v->GetArray()) f(item);
}

std::string WithoutSlash(std::string name) {
  if (!name.empty() && name.front() == '/') name.erase(0, 1);
  return name;
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

// What the kernel's caches hold and would give back.
uint64_t Reclaimable(const json::Value& memory) {
  const json::Value& stats = Inner(memory, "stats");
  return json::Find(stats, "total_inactive_file") != nullptr ? Count(stats, "total_inactive_file")
                                                             : Count(stats, "inactive_file");
}

}  // namespace

bool IsId(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
}

Labels ReadLabels(const json::Value& object, const char* member) {
  Labels out;
  for (const auto& entry : Inner(object, member).GetObject())
    if (entry.value.IsString())
      out.emplace(std::string(entry.name.GetString(), entry.name.GetStringLength()),
                  std::string(entry.value.GetString(), entry.value.GetStringLength()));
  return out;
}

void ReadVersion(const json::Value& doc, EngineInfo* info) {
  info->version = Text(doc, "Version");
  info->name = "Docker";
  Each(doc, "Components", [&](const json::Value& component) {
    if (Text(component, "Name").find("Podman") != std::string::npos) info->name = "Podman";
  });
}

void ReadInfo(const json::Value& doc, EngineInfo* info) {
  info->id = Text(doc, "ID");
  info->storage = Text(doc, "Driver");
  info->root_dir = Text(doc, "DockerRootDir");
  info->default_runtime = Text(doc, "DefaultRuntime");
  info->memory = json::GetBool(doc, "MemoryLimit").value_or(false);
  info->cpu = json::GetBool(doc, "CpuCfsQuota").value_or(false);
  info->pids = json::GetBool(doc, "PidsLimit").value_or(false);
  info->cgroup_version = Text(doc, "CgroupVersion") == "2" ? 2 : 1;
  for (const auto& runtime : Inner(doc, "Runtimes").GetObject())
    info->runtimes.emplace_back(runtime.name.GetString(), runtime.name.GetStringLength());
  Each(doc, "SecurityOptions", [&](const json::Value& option) {
    if (!option.IsString()) return;
    const std::string text = option.GetString();
    if (text.find("name=rootless") != std::string::npos) info->rootless = true;
    if (text.find("name=userns") != std::string::npos) info->userns_remap = true;
  });
}

ImageInfo ReadImage(const json::Value& doc) {
  ImageInfo out;
  out.id = Text(doc, "Id");
  Each(Inner(doc, "Config"), "Env", [&](const json::Value& variable) {
    if (variable.IsString()) out.env.emplace_back(variable.GetString(), variable.GetStringLength());
  });
  return out;
}

ContainerInfo ReadContainer(const json::Value& doc) {
  ContainerInfo out;
  out.id = Text(doc, "Id");
  out.name = WithoutSlash(Text(doc, "Name"));
  const json::Value& state = Inner(doc, "State");
  out.status = Text(state, "Status");
  out.oom_killed = json::GetBool(state, "OOMKilled").value_or(false);
  out.pid = static_cast<pid_t>(std::min<uint64_t>(Count(state, "Pid"), INT32_MAX));
  out.exit_code = static_cast<int>(json::GetInt(state, "ExitCode").value_or(0));
  out.started = Text(state, "StartedAt");
  out.created = Text(doc, "Created");
  out.image_id = Text(doc, "Image");
  const json::Value& config = Inner(doc, "Config");
  out.image = Text(config, "Image");
  out.labels = ReadLabels(config, "Labels");
  const json::Value& host = Inner(doc, "HostConfig");
  out.memory = Count(host, "Memory");
  out.pids = Count(host, "PidsLimit");
  out.cpu = static_cast<double>(Count(host, "NanoCpus")) / 1e9;
  out.runtime = Text(host, "Runtime");
  out.network = json::GetBool(config, "NetworkDisabled").value_or(false) ? "none" : Text(host, "NetworkMode");
  Each(doc, "Mounts", [&](const json::Value& mount) {
    if (Text(mount, "Destination") != "/workspace") return;
    if (Text(mount, "Type") == "volume") out.workspace_volume = Text(mount, "Name");
    out.workspace_source = Text(mount, "Source");
  });
  return out;
}

std::vector<ListedContainer> ReadContainers(const json::Value& doc) {
  std::vector<ListedContainer> out;
  Each(doc, nullptr, [&](const json::Value& item) {
    ListedContainer container{Text(item, "Id"), "", Text(item, "State"), ReadLabels(item, "Labels"), {}};
    Each(item, "Names", [&](const json::Value& name) {
      if (container.name.empty() && name.IsString()) container.name = WithoutSlash(name.GetString());
    });
    Each(item, "Mounts", [&](const json::Value& mount) {
      if (Text(mount, "Type") == "volume") container.volumes.push_back(Text(mount, "Name"));
    });
    if (IsId(container.id)) out.push_back(std::move(container));
  });
  return out;
}

std::vector<ListedVolume> ReadVolumes(const json::Value& doc) {
  std::vector<ListedVolume> out;
  Each(doc, "Volumes", [&](const json::Value& item) {
    out.push_back({Text(item, "Name"), ReadLabels(item, "Labels")});
  });
  return out;
}

Usage ReadUsage(const json::Value& doc) {
  Usage out;
  const json::Value& memory = Inner(doc, "memory_stats");
  const uint64_t used = Count(memory, "usage");
  out.memory = used - std::min(used, Reclaimable(memory));
  out.cpu_ns = Count(Inner(Inner(doc, "cpu_stats"), "cpu_usage"), "total_usage");
  out.known = used > 0 || out.cpu_ns > 0;
  return out;
}

std::vector<std::string> ReadRootCommands(const json::Value& doc) {
  std::vector<std::string> out;
  std::string root;
  Each(doc, "Processes", [&](const json::Value& row) {
    if (!row.IsArray() || row.Size() < 3 || !row[1].IsString() || !row[2].IsString()) return;
    const std::string uid = row[1].GetString();
    if (root.empty()) root = uid;
    if (uid == root) out.push_back(std::string(row[2].GetString()).substr(0, kMostText));
  });
  return out;
}

Status CheckBridge(const json::Value& doc, const std::string& name) {
  const Labels options = ReadLabels(doc, "Options");
  const auto icc = options.find("com.docker.network.bridge.enable_icc");
  if (icc != options.end() && icc->second == "false") return {};
  return Error{CSB_E_CONFLICT, "the network " + name + " lets its containers talk to each other",
               "docker network rm " + name + ": it is made anew with that off", false};
}

void WriteLabels(json::Writer& w, const Labels& labels) {
  w.StartObject();
  for (const auto& [key, value] : labels) json::Member(w, key, value);
  w.EndObject();
}

std::string VolumeBody(const std::string& name, const Labels& labels, uint64_t size) {
  return Object([&](json::Writer& w) {
    json::Member(w, "Name", name);
    json::Member(w, "Driver", "local");
    json::Key(w, "Labels");
    WriteLabels(w, labels);
    if (size > 0) {
      json::Key(w, "DriverOpts");
      WriteLabels(w, {{"size", std::to_string(size)}});
    }
  });
}

std::string NetworkBody(const std::string& name, const Labels& labels) {
  return Object([&](json::Writer& w) {
    json::Member(w, "Name", name);
    json::Member(w, "CheckDuplicate", true);
    json::Member(w, "Driver", "bridge");
    json::Key(w, "Options");
    WriteLabels(w, {{"com.docker.network.bridge.enable_icc", "false"}});
    json::Key(w, "Labels");
    WriteLabels(w, labels);
  });
}

bool JsonLines::Take(std::string_view piece) {
  for (;;) {
    const size_t end = piece.find('\n');
    if (line_.size() + std::min(end, piece.size()) > kMaxLine) return false;
    line_.append(piece.substr(0, end));
    if (end == std::string_view::npos) return true;
    piece.remove_prefix(end + 1);
    if (auto value = json::Parse(line_); value && value->IsObject()) on_value_(*value);
    line_.clear();
  }
}

PullReader::PullReader(std::function<void(const std::string&)> progress)
    : progress_(std::move(progress)), lines_([this](const json::Value& line) {
        // Words of a registry that nobody vouches for.
        if (const std::string error = Text(line, "error"); !error.empty())
          error_ = Printable(error, kMostSaid);
        std::string said = Printable(Text(line, "status"), kMostSaid);
        if (const std::string layer = Text(line, "id"); !layer.empty())
          said = Printable(layer, kMostSaid) + ": " + said;
        // Each layer tells its bytes many times a second: a change of state is what people read.
        if (said.empty() || said == last_) return;
        last_ = said;
        progress_(said);
      }) {}

bool PullReader::Take(std::string_view piece) {
  if (lines_.Take(piece)) return true;
  overlong_ = true;
  return false;
}

}  // namespace csb::docker

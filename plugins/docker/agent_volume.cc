// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/agent_volume.h"

#include <archive.h>
#include <archive_entry.h>
#include <openssl/evp.h>

#include <fstream>
#include <memory>
#include <sstream>

#include "plugins/docker/engine_json.h"
#include "plugins/docker/launcher.h"

namespace csb::docker {
namespace {

constexpr size_t kMostAgent = 64 << 20;

std::string Digest(const std::string& data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(data.data(), data.size(), digest, &size, EVP_sha256(), nullptr);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (int i = 0; i < 8; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return out;
}

// A tar of one file, mode 0555, owned by root.
Result<std::string> Tar(const char* name, const std::string& data) {
  const Error failed{CSB_E_INTERNAL, "the agent's archive can't be made", "", false};
  std::string out(data.size() + (64 << 10), '\0');
  size_t used = 0;
  const std::unique_ptr<archive, int (*)(archive*)> a(archive_write_new(), archive_write_free);
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(),
                                                                       archive_entry_free);
  if (!a || !entry || archive_write_set_format_ustar(a.get()) != ARCHIVE_OK ||
      archive_write_open_memory(a.get(), out.data(), out.size(), &used) != ARCHIVE_OK)
    return failed;
  archive_entry_set_pathname(entry.get(), name);
  archive_entry_set_size(entry.get(), static_cast<int64_t>(data.size()));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0555);
  if (archive_write_header(a.get(), entry.get()) != ARCHIVE_OK ||
      archive_write_data(a.get(), data.data(), data.size()) != static_cast<la_ssize_t>(data.size()) ||
      archive_write_close(a.get()) != ARCHIVE_OK)
    return failed;
  out.resize(used);
  return out;
}

// "" when it can't be read.
std::string ReadAgent(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  std::string data = content.str();
  return !file || data.size() > kMostAgent ? std::string() : data;
}

std::string NameFor(const Names& names, const std::string& digest) {
  return names.prefix() + "agent-" + digest;
}

}  // namespace

std::string AgentVolumeName(const Names& names, const std::string& agent) {
  const std::string data = ReadAgent(agent);
  return data.empty() ? std::string() : NameFor(names, Digest(data));
}

Result<std::string> MakeAgentVolume(Engine& engine, const Names& names, Labels labels,
                                    const std::string& agent, const std::string& image,
                                    const std::string& host_id) {
  const std::string data = ReadAgent(agent);
  if (data.empty())
    return Error{CSB_E_UNAVAILABLE, "the agent can't be read (" + agent + ")",
                 "build it, or set docker.agent", false};
  const std::string digest = Digest(data);
  const std::string volume = NameFor(names, digest);
  labels[kLabelSlot] = "agent-" + digest;
  // Every host process fills it once, whether it is there or not: one whose filling was cut off looks the
  // same.
  auto tar = Tar("clara-sandbox-agent", data);
  if (!tar) return tar.error();
  auto made = engine.CreateVolume(volume, labels, 0, kChangeLimit);
  if (!made) return made.error();
  labels[kLabelHost] = host_id;  // of the container; the volume is everybody's
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "Image", image);
  json::Key(w, "Cmd");
  w.StartArray();
  json::String(w, "/never-started");
  w.EndArray();
  json::Member(w, "NetworkDisabled", true);
  json::Key(w, "Labels");
  WriteLabels(w, labels);
  json::Key(w, "HostConfig");
  w.StartObject();
  json::Key(w, "Binds");
  w.StartArray();
  json::String(w, volume + ":/agent:nocopy");
  w.EndArray();
  w.EndObject();
  w.EndObject();
  const std::string name = volume + "-" + host_id;
  auto id = engine.CreateContainer(name, {buffer.GetString(), buffer.GetSize()}, kChangeLimit);
  if (!id) return id.error();
  const Status put = engine.PutArchive(*id, "/agent", *tar, kChangeLimit);
  const Status removed = engine.Remove(*id, kChangeLimit);
  if (!put) return put.error();
  if (!removed) return removed.error();
  return volume;
}

}  // namespace csb::docker

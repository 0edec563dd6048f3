// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/client_config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/printable.h"
#include "plugins/common/unique_fd.h"

namespace csb::incus {
namespace {

constexpr size_t kMaxFile = 1 << 20;
constexpr size_t kMaxDepth = 16, kMaxValues = 100'000;
constexpr size_t kMaxName = 128, kMaxValue = 2048;

// Goes over a document without building it, and throws at what is too much. An alias stands for as much as
// its anchor does, which may hold aliases again.
class Bounds : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { Count(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw YAML::ParserException(mark, "aliases (*name) are not supported here");
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string&) override {
    Count(mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Enter(mark);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    Enter(mark);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void Enter(const YAML::Mark& mark) {
    Count(mark);
    if (++depth_ > kMaxDepth) throw YAML::ParserException(mark, "nested deeper than 16 levels");
  }
  void Count(const YAML::Mark& mark) {
    if (++values_ > kMaxValues) throw YAML::ParserException(mark, "more than 100000 values");
  }
  size_t depth_ = 0, values_ = 0;
};

Error Wrong(const std::string& where, const std::string& what) {
  return {CSB_E_INVALID, where + ": " + Printable(what, 300),
          "mend the incus client's configuration, or name the server by its address (incus.remote)", false};
}

// "": not there. Throws when it is no text, or one that is too long.
std::string TextOf(const YAML::Node& remote, const char* key) {
  const YAML::Node value = remote[key];
  if (!value || value.IsNull()) return {};
  if (!value.IsScalar() || value.Scalar().size() > kMaxValue)
    throw YAML::RepresentationException(value.Mark(), std::string(key) + " is no text of at most 2048 bytes");
  return value.Scalar();
}

// The name becomes part of a file's.
bool IsRemoteName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name.front() != '.' && utf8::Valid(name) &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F || c == '/' || c == ':';
         });
}

ClientRemote RemoteOf(const std::string& name, const YAML::Node& node, const std::string& folder) {
  ClientRemote out;
  out.name = name;
  out.folder = folder;
  if (!node.IsMap()) throw YAML::RepresentationException(node.Mark(), "a remote is no map");
  out.address = TextOf(node, "addr");
  // The members of a cluster; the client goes on with another when one is not there.
  const YAML::Node others = node["addrs"];
  if (out.address.empty() && others && others.IsSequence() && others.size() > 0 && others[0].IsScalar() &&
      others[0].Scalar().size() <= kMaxValue)
    out.address = others[0].Scalar();
  out.protocol = TextOf(node, "protocol");
  if (out.protocol.empty()) out.protocol = "incus";
  out.project = TextOf(node, "project");
  out.auth = TextOf(node, "auth_type");
  out.is_public = TextOf(node, "public") == "true";
  return out;
}

// nullopt: there is none.
Result<std::optional<std::string>> ReadConfig(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) return std::optional<std::string>();
  if (!fd) return ErrnoError("open", path);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return ErrnoError("fstat", path);
  if (!S_ISREG(info.st_mode)) return Wrong(path, "this is no file");
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("read", path);
    if (n == 0) return std::optional(text);
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > kMaxFile) return Wrong(path, "larger than 1 MiB");
  }
}

}  // namespace

Result<std::map<std::string, ClientRemote, std::less<>>> ParseClientConfig(const std::string& text,
                                                                           const std::string& where,
                                                                           const std::string& folder) {
  if (text.size() > kMaxFile) return Wrong(where, "larger than 1 MiB");
  if (!utf8::Valid(text) || text.find('\0') != std::string::npos)
    return Wrong(where, "this is no UTF-8 text");
  std::map<std::string, ClientRemote, std::less<>> out;
  try {
    std::istringstream first(text);
    YAML::Parser parser(first);
    Bounds bounds;
    parser.HandleNextDocument(bounds);
    const YAML::Node document = YAML::Load(text);
    if (!document || document.IsNull()) return out;
    if (!document.IsMap()) return Wrong(where, "this is no map of settings");
    const YAML::Node remotes = document["remotes"];
    if (!remotes || remotes.IsNull()) return out;
    if (!remotes.IsMap()) return Wrong(where, "remotes is no map");
    for (const auto& entry : remotes) {
      if (!entry.first.IsScalar() || !IsRemoteName(entry.first.Scalar()))
        throw YAML::RepresentationException(entry.first.Mark(), "a remote has no possible name");
      const std::string& name = entry.first.Scalar();
      out[name] = RemoteOf(name, entry.second, folder);
    }
  } catch (const std::exception& error) {
    return Wrong(where, error.what());
  }
  return out;
}

Result<ClientRemote> ClientConfig::Find(std::string_view name) const {
  if (const auto it = remotes.find(name); it != remotes.end()) return it->second;
  if (problem) return *problem;
  if (name == "images")
    return ClientRemote{"images", "https://images.linuxcontainers.org", "simplestreams", "", "", true, ""};
  std::string known;
  for (const auto& [other, remote] : remotes) known += (known.empty() ? "" : ", ") + Printable(other, 64);
  return Error{
      CSB_E_NOT_FOUND, "the incus client has no remote \"" + Printable(name, 100) + "\"",
      known.empty() ? "it has none at all; `incus remote add` makes one" : "it has " + Printable(known, 300),
      false};
}

std::optional<ClientRemote> ClientConfig::FindServer(const Address& address) const {
  for (const auto& [name, remote] : remotes) {
    if (remote.protocol != "incus" || remote.is_public || !remote.address.starts_with("https://")) continue;
    const auto its = ParseAddress(remote.address);
    if (its && *its == address) return remote;
  }
  return std::nullopt;
}

std::vector<std::string> ClientFolders() {
  std::vector<std::string> out;
  const auto set = [](const char* name) {
    const char* value = getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  const std::string own = set("INCUS_CONF"), home = set("HOME"), global = set("INCUS_GLOBAL_CONF");
  if (!own.empty() || !home.empty()) out.push_back(!own.empty() ? own : home + "/.config/incus");
  out.push_back(global.empty() ? "/etc/incus" : global);
  return out;
}

ClientConfig ReadClientConfig(const std::vector<std::string>& folders) {
  ClientConfig out;
  for (const std::string& folder : folders) {
    if (out.folder.empty()) out.folder = folder;
    const std::string path = folder + "/config.yml";
    auto text = ReadConfig(path);
    if (!text && !out.problem) out.problem = text.error();
    if (!text || !*text) continue;
    auto remotes = ParseClientConfig(**text, path, folder);
    if (!remotes && !out.problem) out.problem = remotes.error();
    if (remotes) out.remotes.merge(*remotes);
  }
  return out;
}

}  // namespace csb::incus

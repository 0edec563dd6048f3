// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/etc_folder.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> MadeFiles() {
  return {
      {"passwd",
       "root:x:0:0:root:/:/usr/sbin/nologin\n"
       "sandbox:x:1000:1000:sandbox:/workspace:/bin/sh\n"
       "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
      {"group", "root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n"},
      {"hostname", "sandbox\n"},
      {"hosts", "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost sandbox\n"},
      {"nsswitch.conf",
       "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"},
      {"os-release", "NAME=\"clara-sandbox\"\nID=clara-sandbox\n"},
  };
}

std::string HostFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

Status Fill(const std::string& folder, const std::map<std::string, std::string>& files,
            const std::vector<std::string>& binds) {
  for (const auto& [name, text] : files) {
    const std::string path = folder + "/" + name;
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    if (!file || chmod(path.c_str(), 0644) != 0) return ErrnoError("write", path);
  }
  for (const std::string& bind : binds)
    if (Status s = MakeFolders(folder + bind.substr(4), 0755); !s) return s;
  char zone[PATH_MAX];
  const ssize_t n = readlink("/etc/localtime", zone, sizeof zone);
  if (n > 0 &&
      symlink(std::string(zone, static_cast<size_t>(n)).c_str(), (folder + "/localtime").c_str()) != 0)
    return ErrnoError("symlink", folder + "/localtime");
  if (chmod(folder.c_str(), 0755) != 0) return ErrnoError("chmod", folder);
  return {};
}

}  // namespace

Result<EtcFolder> MakeEtcFolder(const std::string& parent, const EtcOptions& options) {
  EtcFolder out;
  std::map<std::string, std::string> files = MadeFiles();
  files["ld.so.cache"] = HostFile("/etc/ld.so.cache");
  // What Debian's packages keep there of a library's own data: without it they do not load, or find no fonts.
  if (fs::is_regular_file("/etc/matplotlibrc")) files["matplotlibrc"] = HostFile("/etc/matplotlibrc");
  for (const char* folder : {"/etc/alternatives", "/etc/fonts"})
    if (fs::is_directory(folder)) out.binds.push_back(folder);
  if (options.network) {
    files["resolv.conf"] = options.resolv_conf.empty() ? HostFile("/etc/resolv.conf") : options.resolv_conf;
    files["services"] = HostFile("/etc/services");
    files["protocols"] = HostFile("/etc/protocols");
    for (const char* folder : {"/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted"})
      if (fs::is_directory(folder)) out.binds.push_back(folder);
  }
  std::string all;
  for (const auto& [name, text] : files) all += name + '\0' + text + '\0';
  for (const std::string& bind : out.binds) all += bind + '\0';
  // Of an engine name the part behind the slug is a hash of the text.
  const std::string name = EngineName(all);
  out.folder = parent + "/etc-" + name.substr(name.size() - 16);
  if (Exists(out.folder)) return out;

  if (Status s = MakeFolders(parent, 0711); !s) return s.error();
  std::string temporary = parent + "/etc.XXXXXX";
  if (mkdtemp(temporary.data()) == nullptr) return ErrnoError("mkdtemp", temporary);
  Status status = Fill(temporary, files, out.binds);
  std::error_code ignored;  // a temporary of ours that stays is harmless
  if (status && rename(temporary.c_str(), out.folder.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY)
    status = ErrnoError("rename", out.folder);
  fs::remove_all(temporary, ignored);
  if (!status) return status.error();
  return out;
}

}  // namespace csb::bwrap

// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/folders.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

namespace csb {
namespace {

std::string FolderOfThisLibrary() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&FolderOfThisLibrary), &info) == 0 || info.dli_fname == nullptr)
    return {};
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// Absolute, whatever the working directory was when the library was loaded.
std::string Absolute(const std::string& path) {
  char* real = realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string out = real;
  free(real);
  return out;
}

}  // namespace

std::string FindHelper(const HostRef& host, const char* key, const char* name) {
  if (const auto set = host.Config(key); set && !set->empty()) return std::string(*set);
  return Absolute(FolderOfThisLibrary() + "/../" + name);
}

std::string DataDir(const HostRef& host, const std::string& state) {
  if (const auto set = host.Config("sandbox.data_dir"); set && !set->empty()) return std::string(*set);
  if (geteuid() == 0 || access("/data/sandboxes", W_OK) == 0) return "/data/sandboxes";
  return state + "/sandboxes";
}

std::string StateDir(const HostRef& host) {
  if (const auto set = host.Config("sandbox.state_dir"); set && !set->empty()) return std::string(*set);
  if (geteuid() == 0) return "/var/lib/clara-sandbox";
  const char* state = getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::string(state) + "/clara-sandbox";
  const char* home = getenv("HOME");
  return std::string(home != nullptr ? home : "/tmp") + "/.local/state/clara-sandbox";
}

std::string RuntimeDir(const HostRef& host, const std::string& state) {
  if (const auto set = host.Config("sandbox.runtime_dir"); set && !set->empty()) return std::string(*set);
  if (geteuid() == 0) return "/run/clara-sandbox";
  const char* runtime = getenv("XDG_RUNTIME_DIR");
  return runtime != nullptr && *runtime == '/' ? std::string(runtime) + "/clara-sandbox" : state + "/run";
}

Status CheckAbsolute(std::initializer_list<const std::string*> folders) {
  for (const std::string* path : folders)
    if (path->empty() || path->front() != '/')
      return Error{CSB_E_INVALID, "\"" + *path + "\" is not an absolute path",
                   "check sandbox.data_dir, sandbox.state_dir and sandbox.runtime_dir", false};
  return {};
}

}  // namespace csb

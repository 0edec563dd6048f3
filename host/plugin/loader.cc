// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/loader.h"

#include <dirent.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "host/plugin/descriptor.h"

namespace csb::host {

namespace {

std::string Errno(int error) { return std::strerror(error); }

// Loaded libraries, kept for ever: reachable, so that leak checkers see no leak.
std::vector<std::unique_ptr<boost::dll::shared_library>>& Kept() {
  static auto* kept = new std::vector<std::unique_ptr<boost::dll::shared_library>>;
  return *kept;
}

// Who may own a plugin: root, the host's user, and whoever owns the host's binary, who could
// change the host itself.
bool TrustedOwner(uid_t owner) {
  if (owner == 0 || owner == geteuid()) return true;
  struct stat self {};
  return stat("/proc/self/exe", &self) == 0 && self.st_uid == owner;
}

Status CheckRights(const std::string& path, const struct stat& st) {
  const bool folder = S_ISDIR(st.st_mode);
  const std::string what = folder ? "plugin folder " : "plugin ";
  if ((st.st_mode & S_IWOTH) != 0)
    return Error{CSB_E_FORBIDDEN,
                 what + path + " is writable by every user: its code would run with the host's rights",
                 "sudo chmod o-w '" + path + "'", false};
  if (!TrustedOwner(st.st_uid))
    return Error{CSB_E_FORBIDDEN,
                 what + path + " belongs to uid " + std::to_string(st.st_uid) +
                     ", which is neither root nor the host's user (uid " + std::to_string(geteuid()) + ")",
                 "sudo chown root '" + path + "'", false};
  return {};
}

// Whether a file ends before what its ELF header promises, as one that is being copied: dlopen would map it
// and die of SIGBUS. What else may be wrong with it, dlopen says itself.
bool EndsEarly(int fd, off_t size) {
  ElfW(Ehdr) header;
  if (pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return true;
  if (header.e_phentsize != sizeof(ElfW(Phdr))) return false;
  const auto end = static_cast<uint64_t>(size);
  for (size_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    const auto at = static_cast<off_t>(header.e_phoff + i * sizeof segment);
    if (pread(fd, &segment, sizeof segment, at) != static_cast<ssize_t>(sizeof segment)) return true;
    if (segment.p_type == PT_LOAD && (segment.p_offset > end || segment.p_filesz > end - segment.p_offset))
      return true;
  }
  return false;
}

Status CheckFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return Error{errno == ENOENT ? CSB_E_NOT_FOUND : CSB_E_FORBIDDEN,
                 "cannot open plugin " + path + ": " + Errno(errno),
                 "check the path and the rights of the file", false};
  struct stat st {};
  char magic[4] = {};
  const bool known = fstat(fd, &st) == 0;
  const ssize_t n = known && S_ISREG(st.st_mode) ? read(fd, magic, sizeof magic) : -1;
  const bool ends_early = n == sizeof magic && EndsEarly(fd, st.st_size);
  close(fd);
  if (!known || !S_ISREG(st.st_mode))
    return Error{CSB_E_INVALID, "plugin " + path + " is not a regular file",
                 "remove it from the plugin folder", false};
  if (n != sizeof magic || std::memcmp(magic, "\177ELF", 4) != 0)
    return Error{CSB_E_INVALID,
                 "plugin " + path + " is not a shared library: " +
                     (n == 0 ? "the file is empty" : "it does not start with an ELF header"),
                 "remove it from the plugin folder, or install the plugin again", false};
  if (ends_early)
    return Error{CSB_E_INVALID, "plugin " + path + " is cut off: the file ends before its last segment",
                 "copy the plugin again, under another name first: then rename it", false};
  return CheckRights(path, st);
}

std::string Absolute(const std::string& path) {
  boost::system::error_code ec;
  const auto absolute = boost::filesystem::absolute(path, ec);
  return ec ? path : absolute.lexically_normal().string();
}

// The names of the *.so in a folder, sorted. nullopt: there is no such folder.
Result<std::optional<std::vector<std::string>>> ListFolder(const std::string& folder) {
  using List = std::optional<std::vector<std::string>>;
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return List();
    return Error{errno == ENOTDIR ? CSB_E_INVALID : CSB_E_FORBIDDEN,
                 "cannot read the plugin folder " + folder + ": " + Errno(errno),
                 "check sandbox.plugin_dirs and the folder's rights", false};
  }
  struct stat st {};
  if (fstat(fd, &st) == 0) {
    if (Status rights = CheckRights(folder, st); !rights) {
      close(fd);
      return std::move(rights).error();
    }
  }
  DIR* dir = fdopendir(fd);
  if (dir == nullptr) {
    const int error = errno;
    close(fd);
    return Error{CSB_E_IO, "cannot read the plugin folder " + folder + ": " + Errno(error), "", false};
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name.size() > 3 && name[0] != '.' && name.ends_with(".so")) names.push_back(name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return List(std::move(names));
}

}  // namespace

Result<LoadedPlugin> LoadPlugin(const std::string& given) {
  const std::string path = Absolute(given);
  if (Status file = CheckFile(path); !file) return std::move(file).error();
  auto library = std::make_unique<boost::dll::shared_library>();
  const csb_plugin* descriptor = nullptr;
  try {
    library->load(path, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
    // Kept before any of its code runs, and whatever it turns out to be.
    Kept().push_back(std::move(library));
    const auto& kept = *Kept().back();
    if (!kept.has(CSB_PLUGIN_ENTRY))
      return Error{CSB_E_INVALID, "plugin " + path + " does not export " CSB_PLUGIN_ENTRY,
                   "is it a plugin of clara-sandbox? Remove it from the folder if not", false};
    descriptor = kept.get<const csb_plugin*()>(CSB_PLUGIN_ENTRY)();
  } catch (const boost::system::system_error& e) {
    return Error{CSB_E_INVALID, "cannot load plugin " + path + ": " + e.what(),
                 "a library it needs may be missing: ldd -r '" + path + "'", false};
  } catch (const std::exception& e) {
    return Error{CSB_E_INVALID, "plugin " + path + ": " CSB_PLUGIN_ENTRY " threw an exception: " + e.what(),
                 "this is a fault of the plugin (plugin-contract rule 9)", false};
  } catch (...) {
    return Error{CSB_E_INVALID,
                 "plugin " + path + ": " CSB_PLUGIN_ENTRY " threw an exception of unknown type",
                 "this is a fault of the plugin (plugin-contract rule 9)", false};
  }
  if (Status status = CheckDescriptor(path, descriptor); !status) return std::move(status).error();
  return LoadedPlugin{path, descriptor};
}

ScanResult ScanPlugins(const std::vector<std::string>& folders,
                       const std::function<bool(std::string_view)>& wanted) {
  ScanResult result;
  std::map<std::string, std::string> path_of;  // by plugin name
  for (const std::string& given : folders) {
    const std::string folder = Absolute(given);
    auto names = ListFolder(folder);
    if (!names) {
      result.refused.emplace_back(folder, std::move(names).error());
      continue;
    }
    if (!*names) continue;
    for (const std::string& name : **names) {
      const std::string path = folder + "/" + name;
      const std::string stem = name.substr(0, name.rfind('.'));
      if (wanted && !wanted(stem)) {
        if (std::find(result.skipped.begin(), result.skipped.end(), stem) == result.skipped.end())
          result.skipped.push_back(stem);
        continue;
      }
      auto plugin = LoadPlugin(path);
      if (!plugin) {
        result.refused.emplace_back(path, std::move(plugin).error());
        continue;
      }
      const auto [other, first] = path_of.emplace(plugin->descriptor->name, path);
      if (first)
        result.plugins.push_back(*std::move(plugin));
      else if (other->second != path)
        result.refused.emplace_back(path, Error{CSB_E_CONFLICT,
                                                "plugin " + path + " has the name '" + other->first +
                                                    "' of " + other->second + ", which was found first",
                                                "remove one of the two", false});
    }
  }
  return result;
}

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
#include "agent/command/python.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "agent/process/code_file.h"

namespace csb::agent {
namespace {

bool IsProgram(const std::string& path) {
  struct stat info;
  // access() goes by the real uid, which is root's in a container.
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
}

// The first python3 of `path`'s absolute folders, those within `except` left out; empty: none.
std::string Search(std::string_view path, std::string_view except) {
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(std::min(path.size(), folder.size() + 1));
    if (folder.empty() || folder[0] != '/') continue;
    if (!except.empty() && folder.substr(0, except.size()) == except &&
        (folder.size() == except.size() || folder[except.size()] == '/'))
      continue;
    std::string candidate(folder);
    candidate += "/python3";
    if (IsProgram(candidate)) return candidate;
  }
  return {};
}

}  // namespace

std::string CommandPath(const CommandSettings& settings) {
  std::string path = settings.workspace + "/.local/bin:" + std::string(kSystemPath);
  for (const auto& entry : settings.env)
    if (entry.rfind("PATH=", 0) == 0) path = entry.substr(5);
  return path;
}

void ChoosePython(CommandSettings& settings, const Identity& identity) {
  if (!settings.python_of_path) return;
  const AsUserOnDisk as_user(identity);
  settings.python = Search(CommandPath(settings), settings.workspace);
}

Result<std::string> FindPython(const CommandSettings& settings) {
  std::string where = settings.python;
  if (!settings.python.empty()) {
    if (access(settings.python.c_str(), X_OK) == 0) return settings.python;
  } else if (settings.python_of_path) {
    return Error{CSB_E_UNAVAILABLE,
                 "python3 was not found in this image (PATH: " + CommandPath(settings) + ")",
                 "use an image with Python; shell and exec work without", false};
  } else {
    if (std::string found = Search(kSystemPath, ""); !found.empty()) return found;
    where = "PATH: " + std::string(kSystemPath);
  }
  return Error{CSB_E_UNAVAILABLE, "python3 was not found in the sandbox (" + where + ")",
               "install it where the sandbox's system comes from: apt-get install python3 python3-pip",
               false};
}

}  // namespace csb::agent

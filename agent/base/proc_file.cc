// SPDX-License-Identifier: Apache-2.0
#include "agent/base/proc_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/base/fd.h"

namespace csb::agent {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr size_t kMost = 1 << 20;

}  // namespace

std::optional<std::string> ReadSmallFile(const std::string& path) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  char buffer[4096];
  while (text.size() < kMost) {
    const ssize_t n = read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  return text;
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kSpace, end);
  }
  return words;
}

std::string StatusField(std::string_view status, std::string_view name) {
  while (!status.empty()) {
    const std::string_view line = status.substr(0, status.find('\n'));
    status.remove_prefix(std::min(status.size(), line.size() + 1));
    if (line.size() > name.size() && line.substr(0, name.size()) == name && line[name.size()] == ':')
      return std::string(Trimmed(line.substr(name.size() + 1)));
  }
  return {};
}

std::vector<std::string> InterfaceNames(std::string_view net_dev) {
  std::vector<std::string> names;
  while (!net_dev.empty()) {
    const std::string_view line = net_dev.substr(0, net_dev.find('\n'));
    net_dev.remove_prefix(std::min(net_dev.size(), line.size() + 1));
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) names.emplace_back(Trimmed(line.substr(0, colon)));
  }
  return names;
}

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/files/member_name.h"

#include <algorithm>

namespace csb::agent {
namespace {

constexpr size_t kMaxName = 4000;  // below PATH_MAX (4,096) with the prefix of a temporary
constexpr size_t kMaxComponent = 255;

Error Refused(std::string why) { return {CSB_E_INVALID, std::move(why), "", false}; }

// Takes the next component off the front of `rest`; slashes around it are dropped.
std::string_view NextComponent(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of('/'), rest.size()));
  const std::string_view part = rest.substr(0, rest.find('/'));
  rest.remove_prefix(part.size());
  return part;
}

}  // namespace

Result<std::string> CleanMemberName(std::string_view name, const NameLimits& limits) {
  if (name.empty()) return Refused("empty name");
  if (name.find('\0') != std::string_view::npos) return Refused("NUL byte in the name");
  if (name.front() == '/') return Refused("absolute name");
  if (name.size() > kMaxName) return Refused("name longer than 4000 bytes");
  std::string clean;
  size_t depth = 0;
  while (true) {
    const std::string_view part = NextComponent(name);
    if (part.empty()) break;
    if (part == ".") continue;
    if (part == "..") return Refused("name contains ..");
    if (part.size() > kMaxComponent) return Refused("a part of the name is longer than 255 bytes");
    if (++depth > limits.depth) return Refused("more than " + std::to_string(limits.depth) + " folders deep");
    if (depth == 1 && part.substr(0, kStagingPrefix.size()) == kStagingPrefix)
      return Refused("reserved name");
    if (!clean.empty()) clean.push_back('/');
    clean.append(part);
  }
  return clean;
}

Status CheckLinkTarget(std::string_view member, std::string_view target) {
  if (target.empty()) return Refused("link without a target");
  if (target.find('\0') != std::string_view::npos) return Refused("NUL byte in the link's target");
  if (target.size() > kMaxName) return Refused("link target longer than 4000 bytes");
  if (target.front() == '/') return Refused("link to an absolute path");
  auto depth = std::count(member.begin(), member.end(), '/');
  bool named = false;
  while (true) {
    const std::string_view part = NextComponent(target);
    if (part.empty()) return {};
    if (part == ".") continue;
    if (part != "..") {
      named = true;
    } else if (named) {
      return Refused("link target has .. behind a name");
    } else if (--depth < 0) {
      return Refused("link leaves the destination");
    }
  }
}

}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/command/pip.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cstring>

namespace csb::agent {
namespace {

bool Alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
}

Error Wrong(std::string why) {
  return {
      CSB_E_INVALID, "package: " + std::move(why),
      "give one requirement such as requests or requests[socks]>=2,<3, or the path of a .whl or .tar.gz file",
      false};
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  void Spaces() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t')) rest_.remove_prefix(1);
  }
  bool Take(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  // Letters, digits and `more`; starts and, for names, ends with a letter or digit.
  bool Word(std::string_view more, bool ends_plain) {
    size_t n = 0;
    while (n < rest_.size() && (Alnum(rest_[n]) || more.find(rest_[n]) != std::string_view::npos)) ++n;
    if (n == 0 || !Alnum(rest_[0]) || (ends_plain && !Alnum(rest_[n - 1]))) return false;
    rest_.remove_prefix(n);
    return true;
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

bool Specifiers(Scanner& in) {
  do {
    in.Spaces();
    bool found = false;
    for (const char* op : {"===", "==", "!=", "<=", ">=", "~=", "<", ">"})
      if ((found = in.Take(op))) break;
    if (!found) return false;
    in.Spaces();
    if (!in.Word("._-+!*", false)) return false;
    in.Spaces();
  } while (in.Take(","));
  return true;
}

bool IsRequirement(std::string_view text) {
  Scanner in(text);
  if (!in.Word("._-", true)) return false;
  in.Spaces();
  if (in.Take("[")) {
    do {
      in.Spaces();
      if (!in.Word("._-", true)) return false;
      in.Spaces();
    } while (in.Take(","));
    if (!in.Take("]")) return false;
    in.Spaces();
  }
  if (in.empty()) return true;
  if (in.Take("(")) {
    if (!Specifiers(in) || !in.Take(")")) return false;
  } else if (!Specifiers(in)) {
    return false;
  }
  in.Spaces();
  return in.empty();
}

}  // namespace

Result<Requirement> CheckRequirement(std::string_view package, std::string_view workspace) {
  while (!package.empty() && (package.front() == ' ' || package.front() == '\t')) package.remove_prefix(1);
  while (!package.empty() && (package.back() == ' ' || package.back() == '\t')) package.remove_suffix(1);
  if (package.empty()) return Wrong("must not be empty");
  if (package.size() > 4096) return Wrong("is longer than 4096 bytes");
  for (const char c : package)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return Wrong("has a control character");
  if (package[0] == '-') return Wrong("must not start with '-'");
  if (package.find("://") != std::string_view::npos) return Wrong("addresses are not accepted");
  const bool archive = EndsWith(package, ".whl") || EndsWith(package, ".tar.gz") || EndsWith(package, ".zip");
  if (archive || package.find('/') != std::string_view::npos) {
    if (!archive) return Wrong("a path must end in .whl, .tar.gz or .zip");
    if (package.find(';') != std::string_view::npos) return Wrong("a path must not hold ';'");
    // Absolute, so that pip takes it for nothing else.
    std::string path =
        package[0] == '/' ? std::string(package) : std::string(workspace) + "/" + std::string(package);
    std::string folder = path.substr(0, path.rfind('/'));
    return Requirement{std::move(path), folder.empty() ? "/" : std::move(folder)};
  }
  if (!IsRequirement(package))
    return Wrong("is not a requirement: '" + std::string(package.substr(0, 200)) + "'");
  return Requirement{std::string(package), ""};
}

bool NetworkIsUp() {
  ifaddrs* list = nullptr;
  // Not known: let pip find out.
  if (getifaddrs(&list) < 0) return true;
  bool up = false;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || (one->ifa_flags & IFF_LOOPBACK) != 0 || (one->ifa_flags & IFF_UP) == 0)
      continue;
    if (one->ifa_addr->sa_family == AF_INET || one->ifa_addr->sa_family == AF_INET6) up = true;
  }
  freeifaddrs(list);
  return up;
}

}  // namespace csb::agent

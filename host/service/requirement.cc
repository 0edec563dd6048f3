// SPDX-License-Identifier: Apache-2.0
#include "host/service/requirement.h"

#include <algorithm>
#include <array>
#include <string>

namespace csb::host {
namespace {

constexpr size_t kMaxPath = 4096;

bool Alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool NameChar(char c) { return Alnum(c) || c == '.' || c == '_' || c == '-'; }
bool VersionChar(char c) {
  return Alnum(c) || c == '.' || c == '_' || c == '-' || c == '*' || c == '+' || c == '!';
}

Error Bad(std::string why) {
  return {CSB_E_INVALID, "package: " + std::move(why),
          "give one requirement, such as `numpy`, `requests[socks]>=2.31,<3`, or the path of a wheel in "
          "the sandbox",
          false};
}

// Reads a requirement from left to right.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  void Blanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t')) rest_.remove_prefix(1);
  }
  bool Take(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  template <typename Predicate>
  std::string_view While(Predicate accept) {
    size_t n = 0;
    while (n < rest_.size() && accept(rest_[n])) ++n;
    const auto taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  // A name of PEP 508: letters, digits, and . _ - inside.
  bool Name() {
    const auto name = While(NameChar);
    return !name.empty() && Alnum(name.front()) && Alnum(name.back());
  }
  // "op version" pairs separated by commas.
  bool Specifiers() {
    static constexpr std::array<std::string_view, 8> kOperators = {
        "===", "==", "~=", "!=", "<=", ">=", "<", ">"};
    do {
      Blanks();
      if (!std::any_of(kOperators.begin(), kOperators.end(), [&](auto op) { return Take(op); })) return false;
      Blanks();
      const auto version = While(VersionChar);
      if (version.empty() || !(Alnum(version[0]))) return false;
      Blanks();
    } while (Take(","));
    return true;
  }
  bool AtEnd() const { return rest_.empty(); }
  char next() const { return rest_.empty() ? '\0' : rest_[0]; }

 private:
  std::string_view rest_;
};

bool EndsWithNoCase(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  text.remove_prefix(text.size() - lower.size());
  return std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
  });
}

}  // namespace

Status CheckRequirement(std::string_view text) {
  if (text.empty()) return Bad("must not be empty");
  for (char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return Bad("has a control character");
  if (text[0] == '-') return Bad("must not begin with '-': options of pip are not accepted here");
  if (text.find("://") != std::string_view::npos || text.find('@') != std::string_view::npos ||
      text.substr(0, 5) == "file:")
    return Bad(
        "URLs are not accepted; packages come from the configured index, or from a wheel in the sandbox");
  if (EndsWithNoCase(text, ".whl"))
    return text.size() > kMaxPath ? Status(Bad("is longer than 4096 bytes")) : Status();
  if (text.size() > kMaxRequirement) return Bad("is longer than 1024 bytes");
  if (text.find('/') != std::string_view::npos)
    return Bad("a path must be that of a wheel, a file that ends with .whl");
  if (text.find(';') != std::string_view::npos)
    return Bad("environment markers (after ';') are not accepted");

  Reader r(text);
  if (!r.Name()) return Bad("must begin with a package's name: letters, digits and . _ - inside");
  r.Blanks();
  if (r.Take("[")) {
    r.Blanks();
    if (!r.Take("]")) {
      do {
        r.Blanks();
        if (!r.Name()) return Bad("the extras in [ ] must be names separated by commas");
        r.Blanks();
      } while (r.Take(","));
      if (!r.Take("]")) return Bad("the extras in [ ] must be names separated by commas");
    }
    r.Blanks();
  }
  if (r.AtEnd()) return {};
  const bool parenthesis = r.Take("(");
  const char next = r.next();
  if (!parenthesis && next != '<' && next != '>' && next != '=' && next != '!' && next != '~')
    return Bad("must be one requirement; call again for another package");
  if (!r.Specifiers() || (parenthesis && !r.Take(")")))
    return Bad("the version must be written like ==1.2, >=1.2,<2 or ~=1.4");
  r.Blanks();
  if (!r.AtEnd()) return Bad("must be one requirement; nothing may follow its version");
  return {};
}

}  // namespace csb::host

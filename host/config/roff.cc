// SPDX-License-Identifier: Apache-2.0
#include "host/config/roff.h"

#include <cstdio>

namespace csb::host::roff {
namespace {

// The code point that starts at text[*at]; moves behind it. Our texts are UTF-8 by test.
unsigned CodePoint(std::string_view text, size_t* at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(*at);
  const unsigned more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  unsigned point = first & (0x3Fu >> more);
  for (unsigned i = 1; i <= more; ++i) point = point << 6 | (byte(*at + i) & 0x3F);
  *at += more + 1;
  return point;
}

}  // namespace

std::string Head(std::string_view title, int section) {
  return ".\\\" Written by `clara-sandbox manual`.\n.TH " + std::string(title) + " " +
         std::to_string(section) + " \"\" \"clara-sandbox " CSB_VERSION "\" \"" +
         (section == 1 ? "User Commands" : "File Formats") + "\"\n.nh\n.ad l\n";
}

std::string Section(std::string_view title) { return ".SH " + std::string(title) + "\n"; }

std::string Text(std::string_view text) {
  std::string out;
  if (text.starts_with('.') || text.starts_with('\'')) out += "\\&";
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if ((c & 0x80) != 0) {
      char escape[16];
      std::snprintf(escape, sizeof escape, "\\[u%04X]", CodePoint(text, &at));
      out += escape;
      continue;
    }
    ++at;
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string Bold(std::string_view text) { return "\\fB" + Text(text) + "\\fR"; }

std::string Paragraphs(std::string_view text) {
  std::string out;
  bool kept = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const bool keep = line.starts_with(' ');
    if (keep != kept) out += keep ? ".PP\n.EX\n" : ".EE\n.PP\n";
    kept = keep;
    out += line.empty() ? ".PP\n" : Text(line) + "\n";
  }
  return kept ? out + ".EE\n" : out;
}

}  // namespace csb::host::roff

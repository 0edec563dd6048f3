// SPDX-License-Identifier: Apache-2.0
#include "host/commands/print.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace csb::host {
namespace {

bool Colourful(FILE* file) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if (no_color != nullptr && *no_color != 0) return false;
  if (term != nullptr && std::strcmp(term, "dumb") == 0) return false;
  return isatty(fileno(file)) == 1;
}

// Columns that UTF-8 text takes, near enough for our own words.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string Paint(std::string_view text, Colour colour, FILE* file) {
  if (colour == Colour::kPlain || !Colourful(file)) return std::string(text);
  const char* code = "";
  switch (colour) {
    case Colour::kPlain:
      break;
    case Colour::kBold:
      code = "1";
      break;
    case Colour::kDim:
      code = "2";
      break;
    case Colour::kRed:
      code = "31";
      break;
    case Colour::kGreen:
      code = "32";
      break;
    case Colour::kYellow:
      code = "33";
      break;
  }
  return std::string("\x1b[") + code + "m" + std::string(text) + "\x1b[0m";
}

void PrintError(const Error& error) {
  std::string text = Paint("clara-sandbox:", Colour::kRed, stderr) + " " + error.message + "\n";
  std::string_view hint = error.hint;
  while (!hint.empty()) {
    const size_t end = std::min(hint.find('\n'), hint.size());
    text += "  " + std::string(hint.substr(0, end)) + "\n";
    hint.remove_prefix(std::min(end + 1, hint.size()));
  }
  std::fputs(text.c_str(), stderr);
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], Width(row[i]));
    }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - Width(row[i]) + 2, ' ');
    }
    std::puts(line.c_str());
  }
}

std::string Wrapped(std::string_view text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (column > indent && column + 1 + Width(word) > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += Width(word);
  }
  return out;
}

bool FinishOutput() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  std::fprintf(stderr, "clara-sandbox: standard output: %s\n", std::strerror(errno));
  return false;
}

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/media.h"

#include <algorithm>

namespace csb::http {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool Same(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}
std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}
// The part before `border`; `rest` becomes what follows it.
std::string_view Cut(std::string_view& rest, char border) {
  const size_t at = rest.find(border);
  const std::string_view part = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return Trim(part);
}

// "0.5" as 500; anything that is no qvalue counts as 1.
int Quality(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return 1000;
  int value = (text[0] - '0') * 1000, unit = 100;
  if (text.size() > 1 && text[1] != '.') return 1000;
  for (size_t i = 2; i < text.size(); ++i, unit /= 10) {
    if (text[i] < '0' || text[i] > '9') return 1000;
    value += (text[i] - '0') * unit;
  }
  return std::min(value, 1000);
}

std::string_view TypeOf(std::string_view content_type) { return Cut(content_type, ';'); }

}  // namespace

int NamedQuality(std::string_view accept, std::string_view type) {
  int best = -1;
  while (!accept.empty()) {
    std::string_view parameters = Cut(accept, ',');
    if (!Same(Cut(parameters, ';'), type)) continue;
    int quality = 1000;
    while (!parameters.empty()) {
      std::string_view value = Cut(parameters, ';');
      if (Same(Cut(value, '='), "q")) quality = Quality(Trim(value));
    }
    best = std::max(best, quality);
  }
  return best;
}

Form FormOfExecution(std::string_view accept) {
  if (accept.empty()) return Form::kJson;
  const int events = NamedQuality(accept, kEventStream), lines = NamedQuality(accept, kNdjson);
  // On a tie the stream wins: clients that can read one often name JSON for errors only.
  if (std::max(events, lines) <= 0 || std::max(events, lines) < NamedQuality(accept, kJson))
    return Form::kJson;
  return lines > events ? Form::kNdjson : Form::kEventStream;
}

Form FormOfFile(std::string_view accept) {
  const int bytes = NamedQuality(accept, kBytes);
  return bytes > 0 && bytes >= NamedQuality(accept, kJson) ? Form::kBytes : Form::kJson;
}

bool IsJson(std::string_view content_type) {
  const std::string_view type = TypeOf(content_type);
  return Same(type, kJson) || (type.size() > 5 && Same(type.substr(type.size() - 5), "+json"));
}

bool IsMultipart(std::string_view content_type) {
  return Same(TypeOf(content_type).substr(0, 10), "multipart/");
}

}  // namespace csb::http

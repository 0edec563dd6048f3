// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/listing.h"

#include <algorithm>
#include <charconv>

namespace csb::remote {
namespace {

const char* TypeOf(char c) {
  switch (c) {
    case '-':
      return "file";
    case 'd':
      return "dir";
    case 'l':
      return "link";
    case 'p':
      return "fifo";
    case 's':
      return "socket";
    case 'c':
      return "char";
    case 'b':
      return "block";
    default:
      return nullptr;
  }
}

// "rwxr-s--T": three bits for each, and what stands in place of x.
bool ReadMode(std::string_view text, std::string* out) {
  unsigned mode = 0;
  for (size_t who = 0; who < 3; ++who) {
    const char r = text[3 * who], w = text[3 * who + 1], x = text[3 * who + 2];
    const unsigned shift = static_cast<unsigned>(6 - 3 * who), special = 04000u >> who;
    if ((r != 'r' && r != '-') || (w != 'w' && w != '-') ||
        std::string_view("x-sStT").find(x) == std::string_view::npos)
      return false;
    mode |= (r == 'r' ? 4u : 0u) << shift | (w == 'w' ? 2u : 0u) << shift;
    mode |= (x == 'x' || x == 's' || x == 't' ? 1u : 0u) << shift;
    if (x == 's' || x == 'S' || x == 't' || x == 'T') mode |= special;
  }
  *out = "0000";
  for (size_t i = 0; i < 4; ++i) (*out)[i] = static_cast<char>('0' + ((mode >> (9 - 3 * i)) & 7u));
  return true;
}

std::string_view Word(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest.remove_prefix(word.size());
  return word;
}

bool ReadLine(std::string_view line, Entry* entry) {
  const std::string_view mode = Word(line);
  if (mode.size() < 10 || mode.size() > 11) return false;  // 11: with the mark of an access list
  const char* type = TypeOf(mode[0]);
  if (type == nullptr || !ReadMode(mode.substr(1, 9), &entry->mode)) return false;
  entry->type = type;
  for (int i = 0; i < 3; ++i) Word(line);  // links, owner, group
  std::string_view size = Word(line);
  if (mode[0] == 'c' || mode[0] == 'b') {
    Word(line);  // "1, 3": the device's numbers
  } else {
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), entry->size);
    if (error != std::errc() || end != size.data() + size.size()) return false;
  }
  for (int i = 0; i < 3; ++i) Word(line);  // month, day, time or year
  if (line.empty()) return false;
  std::string_view name = line.substr(1);  // which may begin with a blank
  if (mode[0] == 'l')
    if (const size_t arrow = name.find(" -> "); arrow != std::string_view::npos) {
      entry->target = name.substr(arrow + 4);
      name = name.substr(0, arrow);
    }
  entry->name = name;
  return !name.empty() && name != "." && name != "..";
}

}  // namespace

std::vector<Entry> ReadListing(std::string_view text) {
  std::vector<Entry> entries;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    Entry entry;
    if (ReadLine(line, &entry)) entries.push_back(std::move(entry));
  }
  return entries;
}

void WriteEntries(json::Writer& w, const std::vector<Entry>& entries) {
  w.StartArray();
  for (const Entry& entry : entries) {
    w.StartObject();
    json::Member(w, "name", std::string_view(entry.name));
    json::Member(w, "type", std::string_view(entry.type));
    json::Member(w, "size", entry.size);
    json::Member(w, "mode", std::string_view(entry.mode));
    if (!entry.target.empty()) json::Member(w, "target", std::string_view(entry.target));
    w.EndObject();
  }
  w.EndArray();
}

}  // namespace csb::remote

// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/model_output.h"

#include <algorithm>
#include <utility>

#include "clara_sandbox/cpp/utf8.h"

namespace csb {
namespace {

bool Continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// By the first bytes, as the formats' own specifications have them.
std::string_view KindOf(std::string_view bytes) {
  static constexpr std::pair<std::string_view, std::string_view> kKinds[] = {
      {"\x89PNG\r\n", "PNG image"},
      {"\xFF\xD8\xFF", "JPEG image"},
      {"GIF8", "GIF image"},
      {"%PDF-", "PDF document"},
      {"PK\x03\x04", "zip archive"},
      {"\x1F\x8B", "gzip data"},
      {"\x7F"
       "ELF",
       "ELF program"},
      {"\x28\xB5\x2F\xFD", "zstd data"},
      {"BZh", "bzip2 data"},
      {"SQLite format 3", "SQLite database"}};
  for (const auto& [start, kind] : kKinds)
    if (bytes.starts_with(start)) return kind;
  return {};
}

}  // namespace

void ModelOutput::Append(std::string_view bytes) {
  seen_ += bytes.size();
  if (tail_.empty()) {
    const std::string_view fits = bytes.substr(0, half_ - head_.size());
    head_.append(fits);
    bytes.remove_prefix(fits.size());
  }
  tail_.append(bytes.substr(bytes.size() - std::min(bytes.size(), half_)));
  // Twice the limit before anything moves: each byte is moved once then.
  if (tail_.size() > 2 * half_) tail_.erase(0, tail_.size() - half_);
}

std::string_view ModelOutput::KeptTail() const {
  return std::string_view(tail_).substr(tail_.size() - std::min(tail_.size(), half_));
}

std::string ModelOutput::Text(std::string_view handle) const {
  std::string_view head = head_, tail = KeptTail();
  const bool binary = LooksBinary(head) || LooksBinary(tail);
  if (binary) return BinaryNote(head, bytes());
  if (!truncated()) return utf8::Clean(head_ + std::string(tail));
  head.remove_suffix(CutCharacter(head));
  while (!tail.empty() && Continuation(tail.front())) tail.remove_prefix(1);
  std::string text = utf8::Clean(head);
  if (!text.empty() && text.back() != '\n') text += '\n';
  text += "… " + Grouped(bytes() - head.size() - tail.size()) + " bytes omitted";
  if (!handle.empty())
    text += ", read_output(\"" + std::string(handle) + "\", offset=" + std::to_string(head.size()) + ")";
  text += " …";
  if (tail.empty() || tail.front() != '\n') text += '\n';
  return text + utf8::Clean(tail);
}

bool LooksBinary(std::string_view bytes) {
  if (bytes.find('\0') != std::string_view::npos) return true;
  // The first bytes may end a character that was cut, the last ones begin one.
  for (int i = 0; i < 3 && !bytes.empty() && Continuation(bytes.front()); ++i) bytes.remove_prefix(1);
  size_t bad = 0;
  for (std::string_view rest = bytes; !rest.empty();) {
    const int n = utf8::SequenceLength(rest);
    if (n == 0) ++bad;
    rest.remove_prefix(n > 0 ? static_cast<size_t>(n) : n < 0 ? rest.size() : 1);
  }
  return bad * 10 > bytes.size();
}

std::string BinaryNote(std::string_view first_bytes, uint64_t bytes) {
  const std::string_view kind = KindOf(first_bytes);
  std::string note = "(binary output: " + Grouped(bytes) + " bytes";
  if (!kind.empty()) note += ", looks like " + std::string(kind);
  return note + ")";
}

std::string Grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

size_t CutCharacter(std::string_view bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    if (Continuation(bytes[bytes.size() - back])) continue;
    return utf8::SequenceLength(bytes.substr(bytes.size() - back)) < 0 ? back : 0;
  }
  return 0;
}

}  // namespace csb

// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/events.h"

namespace csb::remote {

Status EventReader::Read(std::string_view bytes, const std::function<bool(std::string_view)>& take) {
  while (!bytes.empty()) {
    if (after_return_ && bytes[0] == '\n') bytes.remove_prefix(1);
    after_return_ = false;
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + data_.size() + piece.size() > kMaxEvent)
      return Error{CSB_E_TOO_LARGE, "an event of the stream is over 4 MiB", "", false};
    if (end == std::string_view::npos) {
      line_ += piece;
      return {};
    }
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    bool go_on;
    if (line_.empty()) {
      go_on = Line(piece, take);
    } else {
      line_ += piece;
      go_on = Line(line_, take);
      line_.clear();
    }
    if (!go_on) return {};
  }
  return {};
}

// false: whoever takes the events has enough.
bool EventReader::Line(std::string_view line, const std::function<bool(std::string_view)>& take) {
  if (line.empty()) {
    if (!has_data_) return true;
    has_data_ = false;
    const std::string data = std::move(data_);
    data_.clear();
    return take(data);
  }
  if (!line.starts_with("data:")) return true;  // comments, and names that stand in the data too
  line.remove_prefix(5);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
  return true;
}

}  // namespace csb::remote

// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/exec_frames.h"

#include <algorithm>
#include <string>

namespace csb::docker {

Result<std::optional<MultiplexedReader::Part>> MultiplexedReader::Next(std::string_view& input) {
  while (left_ == 0) {
    const size_t n = std::min(input.size(), header_.size() - filled_);
    std::copy_n(input.begin(), n, header_.begin() + static_cast<std::ptrdiff_t>(filled_));
    input.remove_prefix(n);
    filled_ += n;
    if (filled_ < header_.size()) return std::optional<Part>();
    filled_ = 0;
    if ((header_[0] != kStdout && header_[0] != kStderr) || header_[1] != 0 || header_[2] != 0 ||
        header_[3] != 0)
      return Error{CSB_E_UNAVAILABLE, "the engine's stream has a frame of type " + std::to_string(header_[0]),
                   "", false};
    stream_ = header_[0];
    left_ = uint32_t{header_[4]} << 24 | uint32_t{header_[5]} << 16 | uint32_t{header_[6]} << 8 | header_[7];
  }
  if (input.empty()) return std::optional<Part>();
  const std::string_view bytes = input.substr(0, left_);
  input.remove_prefix(bytes.size());
  left_ -= static_cast<uint32_t>(bytes.size());
  return std::optional(Part{stream_, bytes});
}

}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/exec_frames.h"

#include <gtest/gtest.h>

#include <string>

namespace csb::docker {
namespace {

std::string Frame(char type, std::string_view payload) {
  const auto n = static_cast<uint32_t>(payload.size());
  std::string out{type, 0, 0, 0};
  for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(n >> shift));
  return out.append(payload);
}

struct Read {
  std::string out, err;
  bool failed = false;
};
Read InPieces(std::string_view stream, size_t piece) {
  MultiplexedReader reader;
  Read read;
  for (size_t at = 0; at < stream.size() && !read.failed; at += piece) {
    std::string_view input = stream.substr(at, piece);
    for (;;) {
      auto part = reader.Next(input);
      read.failed = !part;
      if (!part || !*part) break;
      EXPECT_FALSE((*part)->bytes.empty());
      ((*part)->stream == MultiplexedReader::kStdout ? read.out : read.err).append((*part)->bytes);
    }
    EXPECT_TRUE(read.failed || input.empty());
  }
  return read;
}

TEST(MultiplexedReader, ReadsTheSameInPiecesOfAnySize) {
  const std::string large(70'000, 'L');
  const std::string stream =
      Frame(1, "one") + Frame(2, "oh") + Frame(1, "") + Frame(1, large) + Frame(2, std::string(3, '\0'));
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{8}, size_t{9}, size_t{4096}, stream.size()}) {
    const Read read = InPieces(stream, piece);
    EXPECT_FALSE(read.failed);
    EXPECT_EQ(read.out, "one" + large);
    EXPECT_EQ(read.err, "oh" + std::string(3, '\0'));
  }
}

TEST(MultiplexedReader, RefusesWhatIsNoFrame) {
  for (const char type : {0, 3, 72, -1})
    EXPECT_TRUE(InPieces(Frame(1, "ok") + Frame(type, "x"), 5).failed) << int{type};
  std::string reserved = Frame(1, "x");
  reserved[2] = 1;
  EXPECT_TRUE(InPieces(reserved, 100).failed);
  EXPECT_TRUE(InPieces("HTTP/1.1 500", 100).failed);
}

}  // namespace
}  // namespace csb::docker

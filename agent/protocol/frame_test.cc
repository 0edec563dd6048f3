// SPDX-License-Identifier: Apache-2.0
#include "agent/protocol/frame.h"

#include <gtest/gtest.h>

#include <random>

namespace csb::protocol {
namespace {

std::string OneFrame(Kind kind, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string bytes;
  AppendFrame(bytes, kind, flags, stream, payload);
  return bytes;
}

std::string Header(uint32_t size, uint8_t kind, char reserved = 0) {
  char header[kHeaderSize];
  EncodeHeader(header, static_cast<Kind>(kind), 0, 1, size);
  header[6] = reserved;
  return {header, sizeof header};
}

std::string ErrorOf(std::string_view bytes) {
  FrameDecoder decoder;
  decoder.Append(bytes);
  while (decoder.Next()) {
  }
  return decoder.error();
}

TEST(Frame, HasTheDocumentedLayout) {
  EXPECT_EQ(OneFrame(Kind::kOutput, 2, 0x01020304, "ab"), std::string("\2\0\0\0\x20\2\0\0\4\3\2\1ab", 14));
}

TEST(Frame, RoundTripsByteByByte) {
  std::string bytes = OneFrame(Kind::kOpen, 1, 7, "{\"op\":\"shell\"}") + OneFrame(Kind::kOutput, 1, 7, "");
  AppendFrameU64(bytes, Kind::kCredit, 9, 0x1122334455667788);
  FrameDecoder decoder;
  std::vector<std::string> seen;
  for (const char byte : bytes) {
    decoder.Append({&byte, 1});
    while (auto frame = decoder.Next())
      seen.push_back(std::to_string(static_cast<int>(frame->kind)) + "/" + std::to_string(frame->flags) +
                     "/" + std::to_string(frame->stream) + "/" + std::string(frame->payload));
  }
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0], "16/1/7/{\"op\":\"shell\"}");
  EXPECT_EQ(seen[1], "32/1/7/");
  EXPECT_EQ(LoadU64(seen[2].data() + seen[2].size() - 8), 0x1122334455667788u);
  EXPECT_EQ(decoder.buffered(), 0u);
}

TEST(Frame, RoundTripsInRandomPieces) {
  std::mt19937 random(1);
  std::string bytes;
  std::vector<size_t> sizes;
  for (int i = 0; i < 200; ++i) {
    sizes.push_back(random() % (kMaxData + 1));
    AppendFrame(bytes, Kind::kOutput, 1, static_cast<uint32_t>(i + 1),
                std::string(sizes.back(), static_cast<char>(i)));
  }
  FrameDecoder decoder;
  size_t next = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t piece = std::min<size_t>(bytes.size() - at, random() % 100'000 + 1);
    decoder.Append(std::string_view(bytes).substr(at, piece));
    at += piece;
    while (auto frame = decoder.Next()) {
      ASSERT_EQ(frame->stream, next + 1);
      ASSERT_EQ(frame->payload, std::string(sizes[next], static_cast<char>(next)));
      ++next;
    }
  }
  EXPECT_EQ(next, sizes.size());
  EXPECT_FALSE(decoder.broken());
}

TEST(Frame, LargestPayloadsPassAndOneByteMoreBreaks) {
  for (const auto& [kind, limit] : {std::pair{Kind::kOutput, kMaxData}, std::pair{Kind::kInput, kMaxData},
                                    std::pair{Kind::kDone, kMaxPayload}, std::pair{Kind::kOpen, kMaxOpen}}) {
    FrameDecoder decoder;
    decoder.Append(OneFrame(kind, 0, 1, std::string(limit, 'x')));
    auto frame = decoder.Next();
    ASSERT_TRUE(frame) << decoder.error();
    EXPECT_EQ(frame->payload.size(), limit);
    // The header alone is enough to refuse: nothing of the payload is waited for or held.
    EXPECT_NE(ErrorOf(Header(static_cast<uint32_t>(limit + 1), static_cast<uint8_t>(kind))), "");
  }
}

TEST(Frame, RefusesWhatTheProtocolDoesNotKnow) {
  EXPECT_NE(ErrorOf(Header(0, 0)), "");
  EXPECT_NE(ErrorOf(Header(0, 3)), "");
  EXPECT_NE(ErrorOf(Header(0, 255)), "");
  EXPECT_NE(ErrorOf(Header(0, static_cast<uint8_t>(Kind::kDone), 1)), "");
  EXPECT_NE(ErrorOf(Header(0xFFFFFFFF, static_cast<uint8_t>(Kind::kOpen))), "");
  EXPECT_NE(ErrorOf(Header(7, static_cast<uint8_t>(Kind::kCredit))), "");
  EXPECT_NE(ErrorOf(Header(0, static_cast<uint8_t>(Kind::kPing))), "");
}

TEST(Frame, StaysBrokenAndHoldsNothing) {
  FrameDecoder decoder;
  decoder.Append(Header(0, 99));
  EXPECT_FALSE(decoder.Next());
  ASSERT_TRUE(decoder.broken());
  const std::string why = decoder.error();
  decoder.Append(OneFrame(Kind::kDone, 0, 1, "{}"));
  EXPECT_FALSE(decoder.Next());
  EXPECT_EQ(decoder.error(), why);
  EXPECT_EQ(decoder.buffered(), 0u);
}

}  // namespace
}  // namespace csb::protocol

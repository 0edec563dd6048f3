// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/web_socket_codec.h"

#include <gtest/gtest.h>

#include <vector>

namespace csb::http {
namespace {

using Op = WebSocketOpcode;

// As a client sends it.
std::string Masked(uint8_t first, std::string_view payload, bool mask = true) {
  std::string frame{static_cast<char>(first)};
  const uint8_t flag = mask ? 0x80 : 0;
  if (payload.size() < 126) {
    frame += static_cast<char>(flag | payload.size());
  } else {
    frame += static_cast<char>(flag | 126);
    frame += static_cast<char>(payload.size() >> 8);
    frame += static_cast<char>(payload.size() & 0xFF);
  }
  const char key[4] = {1, 2, 3, 4};
  if (mask) frame.append(key, 4);
  for (size_t i = 0; i < payload.size(); ++i)
    frame += static_cast<char>(mask ? payload[i] ^ key[i % 4] : payload[i]);
  return frame;
}

uint16_t Error(std::string_view bytes, size_t most = 1000) {
  WebSocketReader reader(most);
  reader.Append(bytes);
  while (reader.Next()) {
  }
  return reader.error();
}

TEST(WebSocketCodec, AnswersTheHandshakeOfTheRfc) {
  EXPECT_EQ(WebSocketAccept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  for (const char* bad : {"", "short", "dGhlIHNhbXBsZSBub25j", "!!!!!!!!!!!!!!!!!!!!!!=="})
    EXPECT_EQ(WebSocketAccept(bad), "") << bad;
}

TEST(WebSocketCodec, ReadsMessagesHoweverTheyArrive) {
  const std::string bytes = Masked(0x82, "binary") + Masked(0x01, "frag") + Masked(0x89, "ping") +
                            Masked(0x80, "ment") + Masked(0x81, std::string(300, 'x'));
  WebSocketReader reader(1000);
  std::vector<WebSocketReader::Message> messages;
  for (const char byte : bytes) {
    reader.Append({&byte, 1});
    while (auto message = reader.Next()) messages.push_back(*std::move(message));
  }
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].payload, "binary");
  EXPECT_EQ(messages[1].opcode, Op::kPing);
  EXPECT_EQ(messages[2].payload, "fragment");
  EXPECT_EQ(messages[2].opcode, Op::kText);
  EXPECT_EQ(messages[3].payload.size(), 300u);
  EXPECT_EQ(reader.error(), 0);
  EXPECT_EQ(reader.buffered(), 0u);
}

TEST(WebSocketCodec, BreaksWithTheCodeOfTheFault) {
  EXPECT_EQ(Error(Masked(0x82, "x", false)), 1002) << "no mask";
  EXPECT_EQ(Error(Masked(0xC2, "x")), 1002) << "a reserved bit";
  EXPECT_EQ(Error(Masked(0x83, "x")), 1002) << "an opcode that is none";
  EXPECT_EQ(Error(Masked(0x80, "x")), 1002) << "a continuation of nothing";
  EXPECT_EQ(Error(Masked(0x01, "x") + Masked(0x81, "y")), 1002) << "a message inside another";
  EXPECT_EQ(Error(Masked(0x09, "x")), 1002) << "a ping in pieces";
  EXPECT_EQ(Error(Masked(0x89, std::string(126, 'x'))), 1002) << "a large ping";
  EXPECT_EQ(Error(Masked(0x81, "\xFF")), 1007);
  EXPECT_EQ(Error(Masked(0x82, std::string(1001, 'x'))), 1009);
  EXPECT_EQ(Error(Masked(0x02, std::string(900, 'x')) + Masked(0x80, std::string(200, 'x'))), 1009);
  EXPECT_EQ(Error(std::string("\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10)), 1009) << "before it comes";
  EXPECT_EQ(Error(Masked(0x88, "x")), 1002) << "a close code cut in two";
  EXPECT_EQ(Error(Masked(0x88, std::string("\x03\xED", 2))), 1002) << "1005 is not to be sent";
  EXPECT_EQ(Error(Masked(0x88, std::string("\x03\xE8", 2))), 0);
}

TEST(WebSocketCodec, WritesFramesOfEachLength) {
  EXPECT_EQ(WebSocketFrame(Op::kText, "ab"), std::string("\x81\x02"
                                                         "ab"));
  EXPECT_EQ(WebSocketFrame(Op::kBinary, std::string(126, 'x')).substr(0, 4),
            std::string("\x82\x7E\x00\x7E", 4));
  EXPECT_EQ(WebSocketFrame(Op::kBinary, std::string(65536, 'x')).substr(0, 10),
            std::string("\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00", 10));
  EXPECT_EQ(WebSocketClose(1000, "over"), std::string("\x03\xE8over"));
  EXPECT_LE(WebSocketClose(1000, std::string(500, 'x')).size(), 125u);
}

}  // namespace
}  // namespace csb::http

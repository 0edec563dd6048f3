// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/events.h"

#include <gmock/gmock.h>

#include <vector>

namespace csb::remote {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using List = std::vector<std::string>;

// What comes out of a stream that comes in pieces of that size.
List Read(std::string_view bytes, size_t piece = SIZE_MAX) {
  List out;
  EventReader reader;
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    EXPECT_TRUE(reader.Read(part, [&](std::string_view data) {
      out.emplace_back(data);
      return true;
    }));
  }
  return out;
}

constexpr std::string_view kStream =
    ": hello\n\nevent: stdout\ndata: {\"event\":\"stdout\",\"data\":\"1\\n\"}\nid: 7\n\n"
    "data:no blank\r\n\r\ndata:  two blanks\r\rdata: a\ndata:\ndata: c\r\n\n: silence\n\n\n"
    "retry: 5\nevent: exit\ndata: last \xC3\xA4\n\n";
const List kEvents{"{\"event\":\"stdout\",\"data\":\"1\\n\"}", "no blank", " two blanks", "a\n\nc",
                   "last \xC3\xA4"};

TEST(EventReader, TellsTheDataOfEachEvent) { EXPECT_EQ(Read(kStream), kEvents); }

TEST(EventReader, TakesTheSameFromPiecesOfAnySize) {
  for (size_t piece = 1; piece < kStream.size(); ++piece) EXPECT_EQ(Read(kStream, piece), kEvents) << piece;
}

TEST(EventReader, MayBeSplitAtEachByte) {
  for (size_t at = 1; at < kStream.size(); ++at) {
    EventReader reader;
    List out;
    const auto take = [&](std::string_view data) {
      out.emplace_back(data);
      return true;
    };
    EXPECT_TRUE(reader.Read(kStream.substr(0, at), take));
    EXPECT_TRUE(reader.Read(kStream.substr(at), take));
    EXPECT_EQ(out, kEvents) << at;
  }
}

// "\r\n" is one end of a line, also when it comes in two pieces: else half an event would be told.
TEST(EventReader, ALineEndThatIsCutInTwoIsOne) {
  EventReader reader;
  List out;
  const auto take = [&](std::string_view data) {
    out.emplace_back(data);
    return true;
  };
  for (const char* piece : {"data: a\r", "\ndata: b\r", "\n\r", "\n"}) EXPECT_TRUE(reader.Read(piece, take));
  EXPECT_THAT(out, ElementsAre("a\nb"));
}

TEST(EventReader, AnEventThatIsNotCompleteIsNotTold) {
  EXPECT_THAT(Read("data: {\"event\":\"exit\"}\n"), IsEmpty());
  EXPECT_THAT(Read("data: {\"event\""), IsEmpty());
}

TEST(EventReader, WhatHasNoDataIsNoEvent) {
  EXPECT_THAT(Read(": ping\n\n: ping\n\nevent: ping\n\n\n\nid: 3\n\ndatabase: 1\n\n Data: 2\n\n"), IsEmpty());
  EXPECT_THAT(Read("data:\n\n"), ElementsAre(""));
}

TEST(EventReader, StopsWhereItsReaderHasEnough) {
  EventReader reader;
  List out;
  EXPECT_TRUE(reader.Read("data: 1\n\ndata: 2\n\ndata: 3\n\n", [&](std::string_view data) {
    out.emplace_back(data);
    return out.size() < 2;
  }));
  EXPECT_THAT(out, ElementsAre("1", "2"));
}

TEST(EventReader, HoldsNoMoreThanOneEventsBound) {
  const std::string piece(64 << 10, 'x');
  for (const char* begin : {"data: ", ": ", "", "data: a\ndata: "}) {
    EventReader reader;
    Status read = reader.Read(begin, [](std::string_view) { return true; });
    size_t taken = 0;
    while (read && taken < (16 << 20)) {
      read = reader.Read(piece, [](std::string_view) { return true; });
      taken += piece.size();
    }
    ASSERT_FALSE(read) << begin;
    EXPECT_EQ(read.error().code, CSB_E_TOO_LARGE) << begin;
    EXPECT_LE(taken, (4 << 20) + piece.size()) << begin;
  }
  // Short lines that never end their event, too.
  EventReader reader;
  Status read;
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "data: 0123456789\n";
  for (int i = 0; i < 1000 && read; ++i) read = reader.Read(lines, [](std::string_view) { return true; });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, CSB_E_TOO_LARGE);
}

TEST(EventReader, AnEventOfNearlyTheBoundIsTaken) {
  const std::string data(EventReader::kMaxEvent - 100, 'y');
  for (const size_t piece : {size_t{10'007}, SIZE_MAX}) {
    const List out = Read("data: " + data + "\n\ndata: " + data + "\n\n", piece);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_TRUE(out[0] == data && out[1] == data);
  }
}

}  // namespace
}  // namespace csb::remote

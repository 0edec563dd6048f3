// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/execution_collector.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "clara_sandbox/operation.h"
#include "plugins/common/base64.h"

namespace csb {
namespace {

using ::testing::HasSubstr;

std::string Result(int exit_code, const std::string& cause = "exit", const std::string& more = "") {
  return R"({"exit_code":)" + std::to_string(exit_code) + R"(,"cause":")" + cause +
         R"(","signal":0,"execution_time":0.25,"stdout_bytes":7,"stderr_bytes":2)" + more + "}";
}

std::string Written(const Execution& run) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  WriteExecution(writer, run);
  writer.EndObject();
  return buffer.GetString();
}

TEST(ExecutionCollector, WritesTheFieldsOfAnExecution) {
  ExecutionCollector collector({.head = 100, .tail = 100});
  collector.Output(CSB_STREAM_STDOUT, "hello");
  collector.Output(CSB_STREAM_STDOUT, " w\n");
  auto run = collector.Finish(Result(0));
  ASSERT_TRUE(run);
  EXPECT_EQ(Written(*run),
            R"({"success":true,"output":"hello w\n","error":null,"exit_code":0,"execution_time":0.25,)"
            R"("timed_out":false,"oom_killed":false,"truncated":false,"stdout_bytes":7,"stderr_bytes":2})");
}

TEST(ExecutionCollector, StderrIsTheErrorAlsoOfASuccess) {
  ExecutionCollector collector({.head = 100, .tail = 100});
  collector.Output(CSB_STREAM_STDERR, "warning\n");
  auto run = collector.Finish(Result(0));
  EXPECT_TRUE(run->success);
  EXPECT_EQ(run->error(), "warning\n");
}

TEST(ExecutionCollector, AKilledRunSaysWhyBeforeItsStderr) {
  ExecutionCollector collector({.head = 100, .tail = 100});
  collector.Output(CSB_STREAM_STDERR, "partial\n");
  auto run = collector.Finish(
      Result(124, "deadline", R"(,"message":"Execution timed out after 5 s","hint":"raise the timeout")"));
  EXPECT_FALSE(run->success);
  EXPECT_TRUE(run->timed_out());
  EXPECT_EQ(run->error(), "Execution timed out after 5 s (raise the timeout)\npartial\n");
  auto oom = collector.Finish(Result(137, "oom", R"(,"message":"OOM killed: 512 MiB")"));
  EXPECT_TRUE(oom->oom_killed());
  EXPECT_THAT(*oom->error(), HasSubstr("OOM killed"));
}

TEST(ExecutionCollector, DroppedBytesAreToldAtTheirPlace) {
  ExecutionCollector collector({.head = 100, .tail = 100});
  collector.Output(CSB_STREAM_STDOUT, "first\n");
  collector.Event(CSB_EVENT_DROPPED, R"({"stream":1,"bytes":12345})");
  collector.Output(CSB_STREAM_STDOUT, "last\n");
  auto run = collector.Finish(Result(0));
  EXPECT_EQ(run->output, "first\n[… 12345 bytes dropped …]\nlast\n");
  EXPECT_TRUE(run->truncated);
  EXPECT_EQ(run->stdout_dropped, 12345u);
}

TEST(ExecutionCollector, KeepsHeadAndTailOfAFlood) {
  ExecutionCollector collector({.head = 10, .tail = 10});
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece = std::to_string(i) + ",";
    all += piece;
    collector.Output(CSB_STREAM_STDOUT, piece);
  }
  auto run = collector.Finish(Result(0));
  EXPECT_EQ(run->output, all.substr(0, 10) + "\n[… " + std::to_string(all.size() - 20) +
                             " bytes dropped …]\n" + all.substr(all.size() - 10));
}

TEST(ExecutionCollector, ABoundForBothLeavesStderrAThird) {
  const auto run = [](size_t out, size_t err) {
    ExecutionCollector collector({.head = 300, .tail = 300, .both = 300});
    collector.Output(CSB_STREAM_STDOUT, std::string(out, 'o'));
    collector.Output(CSB_STREAM_STDERR, std::string(err, 'e'));
    auto done = *collector.Finish(Result(0));
    const auto count = [](const std::string& s, char c) { return std::count(s.begin(), s.end(), c); };
    EXPECT_EQ(done.truncated, out + err > 300);
    // The marker's words have letters of their own: "bytes dropped" has an o and two e.
    const auto o = count(done.output, 'o'), e = count(done.stderr_text, 'e');
    return std::pair(done.output.find('[') != std::string::npos ? o - 1 : o,
                     done.stderr_text.find('[') != std::string::npos ? e - 2 : e);
  };
  EXPECT_EQ(run(100, 100), (std::pair<long, long>(100, 100)));
  EXPECT_EQ(run(500, 10), (std::pair<long, long>(290, 10)));
  EXPECT_EQ(run(10, 500), (std::pair<long, long>(10, 290)));
  EXPECT_EQ(run(5000, 5000), (std::pair<long, long>(200, 100)));
}

TEST(ExecutionCollector, OnePieceLargerThanEverythingKept) {
  BoundedText text(4, 4);
  text.Append("abcdefghijklmnop");
  EXPECT_EQ(text.Text(), "abcd\n[… 8 bytes dropped …]\nmnop");
  EXPECT_EQ(text.dropped(), 8u);
}

TEST(ExecutionCollector, CharactersCutByPiecesStayWholeAndByAGapAreCounted) {
  BoundedText whole(100, 0);
  whole.Append("\xE2\x82");
  whole.Append("\xAC!");
  EXPECT_EQ(whole.Text(), "€!");
  BoundedText cut(4, 4);
  cut.Append("a€€€€b");  // 1 + 4 * 3 + 1 bytes
  EXPECT_EQ(cut.Text(), "a€\n[… 6 bytes dropped …]\n€b");
}

TEST(ExecutionCollector, BinaryBecomesValidUtf8) {
  ExecutionCollector collector({.head = 100, .tail = 0});
  collector.Output(CSB_STREAM_STDOUT, std::string("\xFF\xFE\0ok", 5));
  auto run = collector.Finish(Result(0));
  EXPECT_EQ(run->output, std::string("\xEF\xBF\xBD\xEF\xBF\xBD\0ok", 9));
  EXPECT_TRUE(json::Parse(Written(*run)));
}

TEST(ExecutionCollector, AResultOfAnotherShapeIsAnError) {
  ExecutionCollector collector({.head = 100, .tail = 0});
  EXPECT_FALSE(collector.Finish("{}"));
  EXPECT_FALSE(collector.Finish("nonsense"));
}

TEST(Base64, RoundTripsEveryLength) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    auto back = base64::Decode(base64::Encode(bytes));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, bytes);
    bytes += static_cast<char>(i * 37);
  }
  EXPECT_EQ(base64::Encode("foob"), "Zm9vYg==");
}

TEST(Base64, RefusesWhatIsNot) {
  for (const char* bad : {"Zg=", "Zg", "Zg==\n", " Zg==", "Z===", "====", "Zm9v*mFy", "Zg==Zg==", "Zm-_"})
    EXPECT_FALSE(base64::Decode(bad)) << bad;
}

}  // namespace
}  // namespace csb

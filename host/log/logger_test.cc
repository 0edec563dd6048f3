// SPDX-License-Identifier: Apache-2.0
#include "host/log/logger.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/host.h"

namespace csb::host {
namespace {

TEST(OneLine, AMessageCannotForgeALineOrDriveATerminal) {
  EXPECT_EQ(OneLine("a\nb\tc\x1b[2J\x7f"), "a\\nb\\tc\\x1b[2J\\x7f");
  EXPECT_EQ(OneLine("\xC2\x9B"
                    "31m"),
            "\\u009b31m");
  EXPECT_EQ(OneLine("\xff\xfe caf\xC3\xA9"), "\xEF\xBF\xBD\xEF\xBF\xBD caf\xC3\xA9");
}

TEST(JsonLine, HasEveryFieldAndStaysOneValidLine) {
  const std::string hostile =
      "quote \" backslash \\ newline \n nul " + std::string(1, '\0') + " bad \xff end";
  const std::string line = JsonLine("2026-01-31T12:00:00.123Z", CSB_LOG_WARN, "http", hostile);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  auto doc = json::ParseObject(line);
  ASSERT_TRUE(doc) << line;
  EXPECT_EQ(json::GetString(*doc, "time"), "2026-01-31T12:00:00.123Z");
  EXPECT_EQ(json::GetString(*doc, "level"), "warn");
  EXPECT_EQ(json::GetString(*doc, "plugin"), "http");
  EXPECT_EQ(json::GetString(*doc, "message"),
            "quote \" backslash \\ newline \n nul " + std::string(1, '\0') + " bad \xEF\xBF\xBD end");
}

TEST(Logger, WritesTextToStderrFromItsLevelOn) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  {
    Logger log({.level = CSB_LOG_WARN});
    log.Log(CSB_LOG_INFO, "host", "not wanted");
    log.Log(CSB_LOG_ERROR, "bubblewrap", "100% {} of it\n");
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(text.find("not wanted"), std::string::npos);
  EXPECT_NE(text.find("Z error bubblewrap: 100% {} of it\\n\n"), std::string::npos) << text;
}

TEST(Logger, LinesOfManyThreadsStayWhole) {
  testing::internal::CaptureStderr();
  {
    Logger log({.level = CSB_LOG_INFO, .json = true});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&log] {
        for (int i = 0; i < 100; ++i) log.Log(CSB_LOG_INFO, "host", std::string(500, 'x'));
      });
    for (auto& thread : threads) thread.join();
  }
  std::string text = testing::internal::GetCapturedStderr();
  int lines = 0;
  for (size_t at = 0; at < text.size(); ++lines) {
    const size_t end = text.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    EXPECT_TRUE(json::ParseObject(std::string_view(text).substr(at, end - at)));
    at = end + 1;
  }
  EXPECT_EQ(lines, 400);
}

TEST(LogLevel, KnowsTheNames) {
  EXPECT_EQ(LogLevel("trace"), CSB_LOG_TRACE);
  EXPECT_EQ(LogLevel("error"), CSB_LOG_ERROR);
  EXPECT_EQ(LogLevel("?"), CSB_LOG_INFO);
}

}  // namespace
}  // namespace csb::host

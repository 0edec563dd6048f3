// SPDX-License-Identifier: Apache-2.0
#include "host/commands/arguments.h"

#include <gtest/gtest.h>

namespace csb::host {
namespace {

constexpr OptionSpec kSpecs[] = {{"code", 'c', "CODE", ""},
                                 {"timeout", 0, "SECONDS", ""},
                                 {"json", 0, nullptr, ""},
                                 {"help", 'h', nullptr, ""}};

std::string Failure(const std::vector<std::string>& words) {
  auto result = ParseArguments(words, kSpecs);
  return result ? "" : result.error().message;
}

TEST(Arguments, OptionsEndAtTheFirstOtherWord) {
  auto args = ParseArguments({"--timeout", "5", "script.py", "--timeout", "6", "--", "-x"}, kSpecs);
  ASSERT_TRUE(args);
  EXPECT_EQ(args->Text("timeout"), "5");
  EXPECT_FALSE(args->separator);
  EXPECT_EQ(args->rest, (std::vector<std::string>{"script.py", "--timeout", "6", "--", "-x"}));
}

TEST(Arguments, TwoDashesEndTheOptions) {
  auto args = ParseArguments({"--json", "--", "ls", "--all", "--", "x"}, kSpecs);
  ASSERT_TRUE(args);
  EXPECT_TRUE(args->Has("json"));
  EXPECT_TRUE(args->separator);
  EXPECT_EQ(args->rest, (std::vector<std::string>{"ls", "--all", "--", "x"}));
}

TEST(Arguments, AValueMayLookLikeAnOption) {
  auto args = ParseArguments({"-c", "--help", "--timeout=-1", "-"}, kSpecs);
  ASSERT_TRUE(args) << args.error().message;
  EXPECT_EQ(args->Text("code"), "--help");
  EXPECT_EQ(args->Text("timeout"), "-1");
  EXPECT_EQ(args->rest, (std::vector<std::string>{"-"}));
}

TEST(Arguments, CodeKeepsEveryByte) {
  const std::string code = "x = 'a=b'\nprint(x) # --\n";
  EXPECT_EQ(ParseArguments({"-c", code}, kSpecs)->Text("code"), code);
  EXPECT_EQ(ParseArguments({"--code=" + code}, kSpecs)->Text("code"), code);
  EXPECT_EQ(ParseArguments({"-c" + code}, kSpecs)->Text("code"), code);
  auto empty = ParseArguments({"-c", ""}, kSpecs);
  ASSERT_TRUE(empty) << empty.error().message;
  EXPECT_TRUE(empty->Has("code"));
  EXPECT_EQ(empty->Text("code"), "");
}

TEST(Arguments, ConfigurationKeysAreTakenAsTheyAre) {
  auto args = ParseArguments({"--http.port=1", "--a.b", "--json", "--json"}, kSpecs);
  ASSERT_TRUE(args);
  EXPECT_EQ(args->keys,
            (std::vector<std::pair<std::string, std::string>>{{"http.port", "1"}, {"a.b", "--json"}}));
  EXPECT_TRUE(args->Has("json"));
}

TEST(Arguments, MistakesAreNamed) {
  EXPECT_EQ(Failure({"--timout", "5"}), "unknown option '--timout'; did you mean --timeout?");
  EXPECT_EQ(Failure({"--time", "5"}), "unknown option '--time'");
  EXPECT_EQ(Failure({"-x"}), "unknown option '-x'");
  EXPECT_EQ(Failure({"--timeout"}), "option '--timeout' needs a value: --timeout SECONDS");
  EXPECT_EQ(Failure({"--http.port"}), "option '--http.port' needs a value: --http.port VALUE");
  EXPECT_EQ(Failure({"--json=yes"}), "option '--json' takes no value");
}

}  // namespace
}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
#include "host/config/value.h"

#include <gtest/gtest.h>

#include "host/config/suggest.h"

namespace csb::host {
namespace {

// The normal form, or "error: …".
std::string Read(ValueType type, std::string_view text) {
  auto value = Normalise(type, text, "/etc/app", "/home/ann");
  return value ? *value : "error: " + value.error().message;
}

std::string Size(std::string_view text) { return Read({.type = CSB_OPTION_SIZE}, text); }
std::string Seconds(std::string_view text) { return Read({.type = CSB_OPTION_SECONDS}, text); }
std::string Float(std::string_view text) { return Read({.type = CSB_OPTION_FLOAT}, text); }
std::string Int(std::string_view text) { return Read({.type = CSB_OPTION_INT, .min = -5, .max = 100}, text); }

TEST(Value, SizesInEverySpellingAreBytes) {
  for (const char* text : {"512m", "512M", "512MiB", "512mb", " 512 MiB ", "0.5g", "536870912", "524288k"})
    EXPECT_EQ(Size(text), "536870912") << text;
  EXPECT_EQ(Size("1g"), "1073741824");
  EXPECT_EQ(Size("2TiB"), "2199023255552");
  EXPECT_EQ(Size("100 bytes"), "100");
  EXPECT_EQ(Size("unlimited"), "0");
}

TEST(Value, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", "m", "12q", "1gg", "1 g b", "nan", "inf", "-1m", "-0", "0x10", "1e3m", "9eib1",
                           "8EiB", "99999999999999999999999g", "0.1b", "1,5g", "1\xff"})
    EXPECT_TRUE(Size(text).starts_with("error: ")) << text << " gave " << Size(text);
}

TEST(Value, TimesInEveryUnitAreSeconds) {
  EXPECT_EQ(Seconds("30"), "30");
  EXPECT_EQ(Seconds("1.5"), "1.5");
  EXPECT_EQ(Seconds("500ms"), "0.5");
  EXPECT_EQ(Seconds("15m"), "900");
  EXPECT_EQ(Seconds("15 min"), "900");
  EXPECT_EQ(Seconds("1h"), "3600");
  EXPECT_EQ(Seconds("2D"), "172800");
  for (const char* text : {"", "nan", "inf", "infinity", "-1", "-0", "1e400", "1h30m", "soon", "99999999999"})
    EXPECT_TRUE(Seconds(text).starts_with("error: ")) << text << " gave " << Seconds(text);
}

TEST(Value, NumbersAreFiniteDecimals) {
  EXPECT_EQ(Float("1.50"), "1.5");
  EXPECT_EQ(Float("-2"), "-2");
  for (const char* text : {"", "nan", "-nan", "inf", "0x1p3", "1e5", "1.5.2", "one"})
    EXPECT_TRUE(Float(text).starts_with("error: ")) << text;
  EXPECT_TRUE(Float(std::string(400, '9')).starts_with("error: is too large"));
}

TEST(Value, IntegersKeepTheirBounds) {
  EXPECT_EQ(Int("007"), "7");
  EXPECT_EQ(Int("-5"), "-5");
  EXPECT_EQ(Int("-6"), "error: is less than the minimum -5");
  EXPECT_EQ(Int("101"), "error: is more than the maximum 100");
  for (const char* text : {"", "1.0", "1k", "99999999999999999999", "+1", "0x1"})
    EXPECT_TRUE(Int(text).starts_with("error: ")) << text;
}

TEST(Value, BoundsOfSizesAreNamedAsSizes) {
  const ValueType type{.type = CSB_OPTION_SIZE, .min = 1 << 20, .max = 1 << 30};
  EXPECT_EQ(Read(type, "1k"), "error: is less than the minimum 1 MiB");
  EXPECT_EQ(Read(type, "2g"), "error: is more than the maximum 1 GiB");
  EXPECT_EQ(Read(type, "unlimited"), "error: is less than the minimum 1 MiB");
}

TEST(Value, Booleans) {
  for (const char* text : {"1", "true", "YES", "On"}) EXPECT_EQ(Read({.type = CSB_OPTION_BOOL}, text), "1");
  for (const char* text : {"0", "False", "no", "off"}) EXPECT_EQ(Read({.type = CSB_OPTION_BOOL}, text), "0");
  EXPECT_TRUE(Read({.type = CSB_OPTION_BOOL}, "maybe").starts_with("error: "));
  EXPECT_TRUE(Read({.type = CSB_OPTION_BOOL}, "").starts_with("error: "));
}

TEST(Value, AChoiceIsGivenAsItWasDeclared) {
  const ValueType type{.type = CSB_OPTION_CHOICE, .choices = {"none", "host", "pasta"}};
  EXPECT_EQ(Read(type, "Pasta"), "pasta");
  EXPECT_EQ(Read(type, "pesto"), "error: is not one of none, host, pasta");
  EXPECT_EQ(Read(type, "hots"), "error: is not one of none, host, pasta; did you mean host?");
}

TEST(Value, PathsBecomeAbsolute) {
  const ValueType type{.type = CSB_OPTION_PATH};
  EXPECT_EQ(Read(type, "/srv/data/"), "/srv/data");
  EXPECT_EQ(Read(type, "keys/../tls.pem"), "/etc/app/tls.pem");
  EXPECT_EQ(Read(type, "~/data"), "/home/ann/data");
  EXPECT_EQ(Read(type, "~"), "/home/ann");
  EXPECT_EQ(Read(type, "/"), "/");
  EXPECT_EQ(Read(type, ""), "");
  EXPECT_EQ(Read(type, "/srv/my data /"), "error: ends with a blank");
  EXPECT_TRUE(Read(type, std::string(5000, 'a')).starts_with("error: "));
  EXPECT_TRUE(Read(type, std::string("a\0b", 3)).starts_with("error: "));
}

TEST(Value, TextIsValidUtf8WithoutControlCharacters) {
  EXPECT_EQ(Read({.type = CSB_OPTION_STRING}, "  two words  "), "two words");
  EXPECT_TRUE(Read({.type = CSB_OPTION_STRING}, "a\x1b[0m").starts_with("error: "));
  EXPECT_TRUE(Read({.type = CSB_OPTION_SECRET}, "\xff").starts_with("error: "));
  EXPECT_TRUE(Read({.type = CSB_OPTION_STRING}, std::string(kMaxValue + 1, 'a')).starts_with("error: "));
}

TEST(Value, ListsAreSeparatedByBlanksAndCommas) {
  EXPECT_EQ(SplitList(" docker, incus\tbubblewrap,"),
            (std::vector<std::string>{"docker", "incus", "bubblewrap"}));
  EXPECT_TRUE(SplitList(" , ").empty());
}

TEST(Suggest, FindsTypingErrorsAndNothingElse) {
  const std::vector<std::string> known = {"http.port", "http.host", "sandbox.mode"};
  EXPECT_EQ(Nearest("http.prot", known), "http.port");
  EXPECT_EQ(Nearest("sandbox.moed", known), "sandbox.mode");
  EXPECT_EQ(Nearest("colour", known), "");
  EXPECT_EQ(Nearest("", known), "");
  EXPECT_EQ(Nearest(std::string(100000, 'a'), known), "");
}

TEST(Suggest, QuotedTextIsShortAndHarmless) {
  EXPECT_EQ(Quoted("a\x1b\n\xff"), "'a\\x1b\\x0a\xEF\xBF\xBD'");
  EXPECT_LT(Quoted(std::string(1000, 'x')).size(), 100u);
}

}  // namespace
}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/media.h"

#include <gtest/gtest.h>

namespace csb::http {
namespace {

TEST(Media, AStreamIsGivenToWhoNamesIt) {
  EXPECT_EQ(FormOfExecution(""), Form::kJson);
  EXPECT_EQ(FormOfExecution("*/*"), Form::kJson);
  EXPECT_EQ(FormOfExecution("text/*"), Form::kJson);
  EXPECT_EQ(FormOfExecution("text/event-stream"), Form::kEventStream);
  EXPECT_EQ(FormOfExecution("Text/Event-Stream ; q=0.5"), Form::kEventStream);
  EXPECT_EQ(FormOfExecution("application/x-ndjson"), Form::kNdjson);
  EXPECT_EQ(FormOfExecution("application/json, text/event-stream"), Form::kEventStream);
  EXPECT_EQ(FormOfExecution("application/json, text/event-stream;q=0.9"), Form::kJson);
  EXPECT_EQ(FormOfExecution("text/event-stream;q=0"), Form::kJson);
  EXPECT_EQ(FormOfExecution("text/event-stream;q=0.8,application/x-ndjson;q=0.9"), Form::kNdjson);
}

TEST(Media, RawBytesAreGivenToWhoNamesThem) {
  EXPECT_EQ(FormOfFile("application/octet-stream"), Form::kBytes);
  EXPECT_EQ(FormOfFile("application/json, application/octet-stream;q=0.1"), Form::kJson);
  EXPECT_EQ(FormOfFile("*/*"), Form::kJson);
}

TEST(Media, JsonIsKnownByItsType) {
  EXPECT_TRUE(IsJson("application/json"));
  EXPECT_TRUE(IsJson("Application/JSON; charset=utf-8"));
  EXPECT_TRUE(IsJson("application/x+json"));
  EXPECT_FALSE(IsJson("application/jsonx"));
  EXPECT_FALSE(IsJson(""));
  EXPECT_TRUE(IsMultipart("multipart/form-data; boundary=x"));
  EXPECT_FALSE(IsMultipart("text/plain"));
}

TEST(Media, NonsenseIsSurvived) {
  for (const char* text :
       {",", ";", ";;,,;=", "q=", "text/event-stream;q=;q", "a;q=1.2.3", "a;q=99999999999999"})
    FormOfExecution(text);
  EXPECT_EQ(NamedQuality("a/b;q=0.123", "a/b"), 123);
  EXPECT_EQ(NamedQuality("a/b;q=7", "a/b"), 1000);
}

}  // namespace
}  // namespace csb::http

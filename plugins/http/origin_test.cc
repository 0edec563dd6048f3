// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/origin.h"

#include <gtest/gtest.h>

namespace csb::http {
namespace {

TEST(Origin, ProgramsThatSendNoOriginPass) {
  EXPECT_TRUE(CheckOrigin({}, "any.example:8080", "", ""));
  EXPECT_TRUE(CheckOrigin({.need_known_host = true}, "127.0.0.1:8080", "", ""));
}

TEST(Origin, OurOwnPagesPass) {
  EXPECT_TRUE(CheckOrigin({}, "box.example", "https://box.example", "same-origin"));
  EXPECT_TRUE(CheckOrigin({}, "localhost:8080", "http://LOCALHOST:8080", "same-origin"));
  EXPECT_TRUE(CheckOrigin({}, "localhost:8080", "", "none"));
}

TEST(Origin, OtherSitesAreRefused) {
  EXPECT_FALSE(CheckOrigin({}, "localhost:8080", "http://evil.example", "cross-site"));
  EXPECT_FALSE(CheckOrigin({}, "localhost:8080", "http://localhost:9090", "same-site"));
  EXPECT_FALSE(CheckOrigin({}, "localhost:8080", "null", ""));
  EXPECT_FALSE(CheckOrigin({}, "localhost:8080", "", "cross-site"));
  EXPECT_FALSE(CheckOrigin({}, "localhost:8080", "", "same-site"));
  EXPECT_FALSE(CheckOrigin({}, "localhost:8080", "http://localhost:8080.evil.example", ""));
  EXPECT_FALSE(CheckOrigin({}, "", "http://", ""));
  EXPECT_TRUE(
      CheckOrigin({.allowed_origins = {"https://app.example"}}, "h", "https://app.example", "cross-site"));
}

TEST(Origin, ReboundNamesAreRefusedWithoutAKey) {
  const OriginPolicy open{.need_known_host = true, .allowed_hosts = {"box.lan"}};
  for (const char* host :
       {"localhost", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "LocalHost:1", "box.lan:1", ""})
    EXPECT_TRUE(CheckOrigin(open, host, "", "")) << host;
  for (const char* host :
       {"evil.example", "127.evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "0.0.0.0",
        "[::2]", "[::1", "10.0.0.1", "box.lan.evil.example"})
    EXPECT_FALSE(CheckOrigin(open, host, "", "")) << host;
}

}  // namespace
}  // namespace csb::http

// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace csb::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class KeysFile : public ::testing::Test {
 protected:
  KeysFile() : path_(::testing::TempDir() + "keys-" + std::to_string(getpid())) {}
  ~KeysFile() override { unlink(path_.c_str()); }
  void Write(const std::string& text, mode_t mode = 0600) {
    std::ofstream(path_) << text;
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
  }
  const std::string path_;
};

TEST(Keys, AreNamedAndMayBeBoundToUsers) {
  auto keys = ParseKeys("# comment\n\nclara : secret-one\r\nbob:secret-two:bob, a%2Cb\n", "f");
  ASSERT_TRUE(keys) << keys.error().message;
  const KeyRing ring(*keys);
  EXPECT_EQ(ring.Find("secret-one")->name, "clara");
  EXPECT_TRUE(ring.Find("secret-one")->Allows("anyone"));
  const Key* bob = ring.Find("secret-two");
  ASSERT_NE(bob, nullptr);
  EXPECT_THAT(bob->users, ElementsAre("bob", "a,b"));
  EXPECT_TRUE(bob->Allows("bob"));
  EXPECT_FALSE(bob->Allows("bo"));
  EXPECT_FALSE(bob->Allows("bob2"));
  for (const char* wrong : {"", "secret-on", "secret-one ", "secret-onee", "SECRET-ONE"})
    EXPECT_EQ(ring.Find(wrong), nullptr) << wrong;
}

TEST(Keys, MayBeGivenAsDigest) {
  // printf secret-one | sha256sum
  const std::string hex = [] {
    std::string out;
    for (unsigned char c : Sha256("secret-one")) {
      char two[3];
      snprintf(two, sizeof two, "%02x", c);
      out += two;
    }
    return out;
  }();
  auto keys = ParseKeys("clara:sha256=" + hex, "f");
  ASSERT_TRUE(keys) << keys.error().message;
  EXPECT_NE(KeyRing(*keys).Find("secret-one"), nullptr);
  EXPECT_EQ(KeyRing(*keys).Find("sha256=" + hex), nullptr);
}

TEST(Keys, ErrorsNameTheLineAndNeverTheKey) {
  for (const char* bad :
       {"ok:12345678\nnocolon-secret", "a:12345678\na:secret-secret", "ok:12345678\nb:secret",
        "ok:12345678\nb:sec ret-secret", "ok:12345678\n:secret-secret", "ok:12345678\nb:secret-secret:",
        "ok:12345678\nb:secret-secret:a,%zz", "ok:12345678\nb:sha256=secret"}) {
    auto keys = ParseKeys(bad, "file");
    ASSERT_FALSE(keys) << bad;
    EXPECT_THAT(keys.error().message, HasSubstr("file line 2")) << bad;
    EXPECT_THAT(keys.error().message, Not(HasSubstr("secret"))) << bad;
  }
}

TEST_F(KeysFile, IsReadWithTheApiKey) {
  Write("bob:secret-two:bob\n");
  auto ring = LoadKeys("secret-one", path_);
  ASSERT_TRUE(ring) << ring.error().message;
  EXPECT_NE((*ring)->Find("secret-one"), nullptr);
  EXPECT_NE((*ring)->Find("secret-two"), nullptr);
}

TEST_F(KeysFile, OpenToOthersIsRefused) {
  Write("bob:secret-two\n", 0644);
  auto ring = LoadKeys("", path_);
  ASSERT_FALSE(ring);
  EXPECT_THAT(ring.error().hint, HasSubstr("chmod 600"));
  Write("bob:secret-two\n", 0620);
  EXPECT_FALSE(LoadKeys("", path_));
  Write("bob:secret-two\n", 0640);
  EXPECT_TRUE(LoadKeys("", path_));
}

TEST_F(KeysFile, MissingOrEmptyIsAnErrorNotAnOpenDoor) {
  EXPECT_FALSE(LoadKeys("", path_));
  Write("# nothing\n");
  EXPECT_FALSE(LoadKeys("", path_));
  EXPECT_FALSE(LoadKeys("", "/dev/null"));
}

TEST(PresentedKey, ComesFromEitherField) {
  EXPECT_EQ(PresentedKey("k", ""), "k");
  EXPECT_EQ(PresentedKey("", "Bearer k"), "k");
  EXPECT_EQ(PresentedKey("", "bearer  k "), "k");
  EXPECT_EQ(PresentedKey("", "Bearerk"), "");
  EXPECT_EQ(PresentedKey("", "Basic k"), "");
  EXPECT_EQ(BasicPassword("Basic dXNlcjpzZWNyZXQtb25l"), "secret-one");
  EXPECT_EQ(BasicPassword("Basic ###"), "");
  EXPECT_EQ(BasicPassword("Bearer dXNlcjpzZWNyZXQtb25l"), "");
}

}  // namespace
}  // namespace csb::http

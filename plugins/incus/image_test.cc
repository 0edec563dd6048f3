// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/image.h"

#include <gmock/gmock.h>

#include "plugins/incus/fake_incus.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;

constexpr char kServer[] = "https://images.linuxcontainers.org", kAlias[] = "debian/12/cloud";
constexpr char kOne[] = "1111111111111111", kTwo[] = "2222222222222222";

class ImageTest : public ::testing::Test {
 protected:
  ~ImageTest() override { engine_.reset(); }
  Result<ResolvedImage> Resolve(const ImageRef& ref, const std::string& type = "container") {
    return ResolveImage(*engine_, ref, type, "as-written");
  }
  static ImageRef Local(const std::string& alias) { return {.alias = alias, .local = true}; }
  static ImageRef Remote() { return {.server = kServer, .protocol = "simplestreams", .alias = kAlias}; }

  FakeIncus server_;
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("image-test");
  std::unique_ptr<Engine> engine_ =
      std::make_unique<Engine>(*reactor_, *HttpClient::Create(*reactor_, server_.endpoint()), "default");
};

TEST_F(ImageTest, ALocalOneIsNamedByItsFingerprint) {
  server_.SetImages({{.fingerprint = kOne, .alias = "mine", .size = 7}});
  for (const ImageRef& ref : {Local("mine"), ImageRef{.fingerprint = kOne, .local = true}}) {
    const auto image = Resolve(ref);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_TRUE(image->ref.local);
    EXPECT_EQ(image->ref.fingerprint, kOne);
    EXPECT_EQ(image->ref.alias, "");
    EXPECT_EQ(image->size, 7u);
  }
}

TEST_F(ImageTest, AnAliasOfBothTypesIsTheOneThatIsWanted) {
  server_.SetImages({{.fingerprint = kOne, .type = "virtual-machine", .alias = "mine"},
                     {.fingerprint = kTwo, .type = "container", .alias = "mine"}});
  EXPECT_EQ(Resolve(Local("mine"))->ref.fingerprint, kTwo);
  EXPECT_EQ(Resolve(Local("mine"), "virtual-machine")->ref.fingerprint, kOne);
}

// Then a create asks nobody else, and works while the image's server is away.
TEST_F(ImageTest, OneThatWasFetchedIsUsedAsItIs) {
  server_.SetImages(
      {{.fingerprint = kTwo, .type = "virtual-machine", .server = kServer, .remote_alias = kAlias},
       {.fingerprint = "3333333333333333", .server = "https://elsewhere", .remote_alias = kAlias},
       {.fingerprint = "4444444444444444", .server = kServer, .remote_alias = "debian/12"},
       {.fingerprint = "5555555555555555", .alias = kAlias},
       {.fingerprint = kOne, .size = 9, .server = kServer, .remote_alias = kAlias}});
  const auto image = Resolve(Remote());
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_TRUE(image->ref.local);
  EXPECT_EQ(image->ref.fingerprint, kOne);
  EXPECT_EQ(image->ref.server, "");
  EXPECT_EQ(image->ref.alias, "");
  EXPECT_EQ(image->size, 9u);
}

TEST_F(ImageTest, OneThatWasNotFetchedIsLeftForTheServerToFetch) {
  const auto image = Resolve(Remote());
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_FALSE(image->ref.local);
  EXPECT_EQ(image->ref.server, kServer);
  EXPECT_EQ(image->ref.alias, kAlias);
  EXPECT_EQ(image->ref.fingerprint, "");
}

TEST_F(ImageTest, AMissingOneSaysWhatToDo) {
  server_.SetImages({});
  const auto missing = Resolve(Local("mine"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(missing.error().retryable);
  EXPECT_THAT(missing.error().message, HasSubstr("has no image as-written"));
  EXPECT_THAT(missing.error().hint, HasSubstr("INCUS_SANDBOX_IMAGE"));
}

TEST_F(ImageTest, OneOfTheOtherTypeIsNotUsed) {
  for (const std::string type : {"container", "virtual-machine"}) {
    const std::string other = type == "container" ? "virtual-machine" : "container";
    server_.SetImages({{.fingerprint = kOne, .type = other, .alias = "mine"}});
    const auto refused = Resolve(Local("mine"), type);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(refused.error().message, HasSubstr("is one of a " + other + ", not of a " + type));
    EXPECT_THAT(refused.error().hint,
                HasSubstr(type == "container" ? "INCUS_SANDBOX_TYPE=vm" : "INCUS_SANDBOX_TYPE=container"));
  }
}

TEST_F(ImageTest, AServerThatCantSayIsNoServerWithout) {
  server_.Fail("GET", "/1.0/images", 500, "out of luck", 2);
  for (const ImageRef& ref : {Local("test"), Remote()}) {
    const auto refused = Resolve(ref);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("out of luck"));
    EXPECT_TRUE(refused.error().retryable);
  }
}

}  // namespace
}  // namespace csb::incus

// SPDX-License-Identifier: Apache-2.0
#include "host/service/record.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace csb::host {
namespace {

class RecordTest : public testing::Test {
 protected:
  RecordTest() {
    folder_ = testing::TempDir() + "csb-record-XXXXXX";
    if (mkdtemp(folder_.data()) == nullptr) ADD_FAILURE() << "mkdtemp";
  }
  ~RecordTest() override {
    std::error_code ec;
    std::filesystem::remove_all(folder_, ec);
  }
  RecordStore Store() {
    return RecordStore(folder_, [this](std::string line) { warnings_.push_back(std::move(line)); });
  }
  std::string folder_;
  std::vector<std::string> warnings_;
};

TEST_F(RecordTest, KeepsEveryMember) {
  const auto store = Store();
  EXPECT_FALSE(store.Load("alice"));
  ASSERT_TRUE(store.Save({"ali\"ce\xc3\xa9", "docker", 1, 2, 3, true}));
  const auto r = store.Load("ali\"ce\xc3\xa9");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->backend, "docker");
  EXPECT_EQ(r->created_ms, 1);
  EXPECT_EQ(r->last_used_ms, 2);
  EXPECT_EQ(r->execution_count, 3u);
  EXPECT_TRUE(r->destroyed);
  EXPECT_TRUE(store.Remove("ali\"ce\xc3\xa9"));
  EXPECT_TRUE(store.Remove("ali\"ce\xc3\xa9"));
  EXPECT_FALSE(store.Load("ali\"ce\xc3\xa9"));
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(RecordTest, AnOlderPlacementDoesNotReplaceANewerOne) {
  const auto store = Store();
  ASSERT_TRUE(store.Save({"alice", "docker", 1, 2, 3}));
  ASSERT_TRUE(store.Update("alice", [](UserRecord& r) {
    r.backend = "bubblewrap";
    r.moved_from = "docker";
    r.moving_to = "incus";
  }));
  const uint64_t revision = store.Load("alice")->revision;
  EXPECT_GT(revision, 0u);
  // A host that has not noticed: its counts are kept, what it thinks of the place is not.
  ASSERT_TRUE(store.Save({"alice", "docker", 1, 20, 30}));
  ASSERT_TRUE(store.Remove("alice", 0));
  const auto r = store.Load("alice");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->execution_count, 30u);
  EXPECT_EQ(r->backend, "bubblewrap");
  EXPECT_EQ(r->moved_from, "docker");
  EXPECT_EQ(r->moving_to, "incus");
  EXPECT_EQ(r->revision, revision);
  // One that has.
  ASSERT_TRUE(store.Save({.user = "alice", .backend = "incus", .revision = revision}));
  EXPECT_EQ(store.Load("alice")->backend, "incus");
  ASSERT_TRUE(store.Remove("alice", revision));
  EXPECT_FALSE(store.Load("alice"));
  // No revision comes again after a purge.
  ASSERT_TRUE(store.Update("alice", [](UserRecord&) {}));
  EXPECT_GE(store.Load("alice")->revision, revision);
}

TEST_F(RecordTest, LookAlikeIdsShareNothing) {
  const auto store = Store();
  const std::vector<std::string> ids = {"a.b", "a-b", "A.B", "a b", "a/b", "../a"};
  for (size_t i = 0; i < ids.size(); ++i)
    ASSERT_TRUE(store.Save({ids[i], "backend-" + std::to_string(i), 0, 0, 0}));
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto record = store.Load(ids[i]);
    ASSERT_TRUE(record) << ids[i];
    EXPECT_EQ(record->backend, "backend-" + std::to_string(i));
  }
}

TEST_F(RecordTest, OnlyTheHostMayRead) {
  const auto store = Store();
  ASSERT_TRUE(store.Save({"alice", "docker", 0, 0, 0}));
  struct stat st {};
  ASSERT_EQ(stat(store.PathOf("alice").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  ASSERT_EQ(stat((folder_ + "/users").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
}

TEST_F(RecordTest, DamagedFilesAreMovedAside) {
  const auto store = Store();
  size_t expected = 0;
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string(R"({"user":"bob","backend":"x"})"),
        std::string(R"({"user":"alice"})"),
        std::string(R"({"user":"alice","backend":"x","execution_count":-1})"),
        std::string(R"({"user":"alice","backend":"x","created_ms":-1})"),
        std::string(R"({"user":"alice","backend":"x","last_used_ms":9223372036854775807})"),
        std::string(R"({"user":"alice","backend":"x\ny"})"), std::string(100000, ' ')}) {
    ASSERT_TRUE(store.Save({"alice", "docker", 0, 0, 0}));
    std::ofstream(store.PathOf("alice"), std::ios::trunc) << text;
    EXPECT_FALSE(store.Load("alice")) << text.substr(0, 50);
    EXPECT_EQ(warnings_.size(), ++expected);
    EXPECT_FALSE(std::filesystem::exists(store.PathOf("alice")));
    EXPECT_TRUE(std::filesystem::exists(store.PathOf("alice") + ".corrupt"));
  }
}

TEST_F(RecordTest, NoLinkIsFollowed) {
  const auto store = Store();
  ASSERT_TRUE(store.Save({"alice", "docker", 0, 0, 0}));
  std::filesystem::rename(store.PathOf("alice"), folder_ + "/elsewhere");
  std::filesystem::create_symlink(folder_ + "/elsewhere", store.PathOf("alice"));
  EXPECT_FALSE(store.Load("alice"));
}

TEST_F(RecordTest, WithoutAFolderNothingIsKept) {
  RecordStore store("", [](std::string) {});
  EXPECT_TRUE(store.Save({"alice", "docker", 0, 0, 0}));
  EXPECT_FALSE(store.Load("alice"));
}

}  // namespace
}  // namespace csb::host

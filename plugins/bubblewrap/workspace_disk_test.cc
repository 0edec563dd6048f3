// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/workspace_disk.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "plugins/bubblewrap/testing.h"
#include "plugins/common/small_file.h"
#include "plugins/common/unique_fd.h"

namespace csb::bwrap {
namespace {

TEST(ImageTemplates, AnImageIsACopyThatTakesNoSpaceYet) {
  CSB_NEED_ROOT();
  if (const std::string why = ImagesPossible(); !why.empty()) GTEST_SKIP() << why;
  TemporaryFolder folder;
  const ImageTemplates templates(folder / "templates");
  ASSERT_TRUE(templates.Make(folder / "image", uint64_t{1} << 30));
  struct stat info {};
  ASSERT_EQ(stat((folder / "image").c_str(), &info), 0);
  EXPECT_EQ(info.st_size, off_t{1} << 30);
  EXPECT_LT(info.st_blocks * 512, 2 << 20);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  // Made once; never formatted again over what is there.
  ASSERT_TRUE(templates.Make(folder / "image", uint64_t{2} << 30));
  ASSERT_EQ(stat((folder / "image").c_str(), &info), 0);
  EXPECT_EQ(info.st_size, off_t{1} << 30);
}

TEST(ImageTemplates, TooSmallIsSaid) {
  TemporaryFolder folder;
  const Status made = ImageTemplates(folder / "templates").Make(folder / "image", 1 << 20);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, ::testing::HasSubstr("bubblewrap.disk"));
  EXPECT_FALSE(Exists(folder / "image"));
}

TEST(RemoveTree, FollowsNoLinkAndMindsNoDepth) {
  TemporaryFolder folder;
  std::ofstream(folder / "outside") << "kept";
  ASSERT_TRUE(MakeFolders(folder / "tree/a/b", 0755));
  std::ofstream(folder / "tree/a/file") << "x";
  ASSERT_EQ(symlink((folder / "outside").c_str(), (folder / "tree/a/link").c_str()), 0);
  ASSERT_EQ(symlink(folder.path().c_str(), (folder / "tree/up").c_str()), 0);
  ASSERT_EQ(mkfifo((folder / "tree/fifo").c_str(), 0600), 0);
  {
    // Deeper than any path may be long.
    UniqueFd at(open((folder / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < 3000; ++i) {
      ASSERT_EQ(mkdirat(at.get(), "deep", 0755), 0);
      at.reset(openat(at.get(), "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      ASSERT_TRUE(at);
    }
  }
  const Status removed = RemoveTree(folder / "tree");
  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(Exists(folder / "tree"));
  EXPECT_TRUE(Exists(folder / "outside"));
  EXPECT_TRUE(RemoveTree(folder / "tree"));
}

}  // namespace
}  // namespace csb::bwrap

// SPDX-License-Identifier: Apache-2.0
//
// Archives as users bring them, and as attackers do (facts of archive extraction: names and links
// that leave the destination, special files, bombs). Every refusal is tried both with openat2 and
// with the walk that stands in for it, and must leave nothing behind, inside or outside.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agent/files/confined_dir.h"
#include "agent/files/member_name.h"
#include "agent/files/operations.h"
#include "agent/files/test_util.h"
#include "agent/files/unzip.h"
#include "clara_sandbox/abi.h"

namespace csb::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string Archives() {
  static const std::string folder = [] {
    const std::string path = std::string(CSB_TEST_BINARY_DIR) + "/tests/archives-" + std::to_string(getpid());
    fs::create_directories(path);
    const std::string command =
        "/usr/bin/python3 " CSB_TEST_SOURCE_DIR "/agent/files/testdata/make_archives.py " + path;
    if (system(command.c_str()) != 0) abort();
    return path;
  }();
  return folder;
}
class RemoveArchives : public ::testing::Environment {
  void TearDown() override { fs::remove_all(Archives()); }
};
const auto* const kCleaner = ::testing::AddGlobalTestEnvironment(new RemoveArchives);

class UnzipTest : public ::testing::TestWithParam<Confinement> {
 protected:
  // Puts the archive into ws/in/ and unpacks it to ws/dest.
  Outcome Unpack(const std::string& archive, const std::string& more = "") {
    ws_.Write("in/" + archive, "");
    fs::copy_file(Archives() + "/" + archive, ws_.At("in/" + archive), fs::copy_options::overwrite_existing);
    return UnpackThere("in/" + archive, more);
  }
  Outcome UnpackThere(const std::string& path, const std::string& more = "") {
    return RunBody(
        ws_,
        [](const json::Value& args, const FileTaskIo& io) {
          if (chdir(io.workspace.c_str()) != 0) return 9;
          umask(022);
          ResultWriter writer(io.result_fd);
          const auto result = Unzip({args, io, writer}, GetParam());
          return (result ? writer.Done(*result) : writer.Failed(result.error())) ? 0 : 1;
        },
        R"({"path":")" + path + R"(","destination":"dest")" + more + "}");
  }
  // What is in the workspace besides the archive.
  std::vector<std::string> Left() const {
    std::vector<std::string> names;
    for (const std::string& name : ws_.Tree())
      if (name.rfind("in", 0) != 0) names.push_back(name);
    return names;
  }
  Workspace ws_;
};

TEST_P(UnzipTest, EveryKind) {
  int kinds = 0;
  for (const char* name :
       {"good.tar", "good.tar.gz", "good.tar.bz2", "good.tar.xz", "good.tar.zst", "good.zip"}) {
    if (!fs::exists(Archives() + "/" + name)) continue;  // no zstd program here
    ++kinds;
    const Outcome got = Unpack(name);
    EXPECT_EQ(got.code, CSB_OK) << name << got.message;
    EXPECT_EQ(NumberOf(got, "exit_code"), 0) << name << got.err;
    EXPECT_EQ(ws_.Read("dest/d/a.txt"), "alpha") << name;
    EXPECT_EQ(ws_.Read("dest/d/sub/b.txt"), "beta") << name;
    EXPECT_EQ(ws_.Read("dest/link"), "alpha") << name;
    EXPECT_TRUE(fs::is_symlink(ws_.At("dest/link"))) << name;
    EXPECT_THAT(got.out, HasSubstr("d/a.txt\n"));
    EXPECT_THAT(got.out, HasSubstr("unpacked to dest"));
    EXPECT_EQ(NumberOf(got, "stdout_bytes"), static_cast<int64_t>(got.out.size()));
    if (std::string(name) != "good.zip") {
      EXPECT_EQ(ws_.Read("dest/hard"), "alpha") << name;
      EXPECT_EQ(ws_.Read("dest/d/up"), "beta") << name;
      EXPECT_EQ(ws_.Read("dest/dot/c"), "gamma") << name;
    } else {
      EXPECT_EQ(fs::status(ws_.At("dest/d/run.sh")).permissions(), static_cast<fs::perms>(0755));
    }
    fs::remove_all(ws_.At("dest"));
  }
  EXPECT_GE(kinds, 5);
}

TEST_P(UnzipTest, SingleCompressedFiles) {
  for (const char* name : {"notes.txt.gz", "notes.txt.bz2", "notes.txt.xz"}) {
    const Outcome got = Unpack(name);
    EXPECT_EQ(NumberOf(got, "exit_code"), 0) << got.err;
    EXPECT_EQ(ws_.Read("dest/notes.txt"), "some notes\n") << name;
    fs::remove_all(ws_.At("dest"));
  }
}

TEST_P(UnzipTest, NamesAreBytes) {
  EXPECT_EQ(NumberOf(Unpack("utf8.zip"), "exit_code"), 0);
  EXPECT_EQ(ws_.Read("dest/é/ü 😀.txt"), "u");
  EXPECT_EQ(NumberOf(Unpack("utf8pax.tar"), "exit_code"), 0);
  EXPECT_EQ(ws_.Read("dest/é/ü.txt"), "u");
  EXPECT_EQ(NumberOf(Unpack("latin.tar"), "exit_code"), 0);
  EXPECT_EQ(ws_.Read("dest/caf\xe9.txt"), "u");
  const Outcome hostile = Unpack("newline.tar");
  EXPECT_EQ(ws_.Read("dest/a\nb\x1b[31m"), "n");
  EXPECT_THAT(hostile.out, HasSubstr(R"(a\012b\033[31m)"));
  const Outcome lost = Unpack("notutf8.zip");
  EXPECT_EQ(NumberOf(lost, "exit_code"), 1);
  EXPECT_THAT(lost.err, HasSubstr("refused: member 1: empty name"));
}

TEST_P(UnzipTest, SetIdBitsAreDroppedAndTheUserOwnsAll) {
  EXPECT_EQ(NumberOf(Unpack("setid.tar"), "exit_code"), 0);
  const auto mode = [&](const char* name) {
    struct stat st {};
    lstat(ws_.At(std::string("dest/") + name).c_str(), &st);
    EXPECT_EQ(st.st_mtim.tv_sec, 1000000000);
    EXPECT_EQ(st.st_uid, geteuid() == 0 ? 61234 : geteuid());
    return st.st_mode & 07777;
  };
  EXPECT_EQ(mode("suid"), 0755u);
  EXPECT_EQ(mode("sgid"), 0755u);
  EXPECT_EQ(mode("wide"), 0755u);
  EXPECT_EQ(mode("none"), 0644u);
}

TEST_P(UnzipTest, RefusesWhatLeavesTheDestination) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"bad-absolute.tar", "/tmp/csb-planted: absolute name"},
      {"bad-dotdot.tar", "../csb-planted: name contains .."},
      {"bad-dotdot-middle.tar", "name contains .."},
      {"bad-dotdot-dir.tar", "name contains .."},
      {"bad-symlink-out.tar", "l -> ../../etc: link leaves the destination"},
      {"bad-symlink-absolute.tar", "l -> /etc: link to an absolute path"},
      {"bad-symlink-then-through.tar", "link leaves the destination"},
      {"bad-through-inner-link.tar", "l/x: l: a link or a file stands where a folder is needed"},
      {"bad-link-chain.tar", "link target has .. behind a name"},
      {"bad-long-chain.tar", "link target has .. behind a name"},
      {"bad-hardlink-out.tar", "h -> /etc/passwd: hard link: absolute name"},
      {"bad-hardlink-dotdot.tar", "hard link: name contains .."},
      {"bad-hardlink-existing.tar", "hard link to what is no earlier file"},
      {"bad-hardlink-symlink.tar", "hard link to what is no earlier file"},
      {"bad-char.tar", "null: a device node"},
      {"bad-block.tar", "disk: a device node"},
      {"bad-fifo.tar", "pipe: a device node, FIFO or socket"},
      {"bad-deep.tar", "more than 64 folders deep"},
      {"bad-long-name.tar", "longer than 255 bytes"},
      {"bad-over-folder.tar", "a folder of that name came earlier"},
      {"bad-under-file.tar", "stands where a folder is needed"},
      {"bad-staging.tar", "reserved name"},
      {"bad-zip-absolute.zip", "absolute name"},
      {"bad-zip-dotdot.zip", "name contains .."},
      {"bad-zip-symlink.zip", "link to an absolute path"},
      {"bad-zip-device.zip", "a device node"},
  };
  ws_.Write("dest/was-there", "old");
  for (const auto& [archive, why] : cases) {
    const Outcome got = Unpack(archive);
    EXPECT_EQ(got.code, CSB_OK) << archive << got.message;
    EXPECT_EQ(NumberOf(got, "exit_code"), 1) << archive;
    EXPECT_THAT(got.err, HasSubstr("refused: ")) << archive;
    EXPECT_THAT(got.err, HasSubstr(why)) << archive;
    EXPECT_THAT(TextOf(got, "message"), HasSubstr("nothing was unpacked")) << archive;
    EXPECT_EQ(got.out, "") << archive;
    EXPECT_EQ(Left(), (std::vector<std::string>{"dest", "dest/was-there"})) << archive;
    EXPECT_FALSE(fs::exists("/tmp/csb-planted")) << archive;
    EXPECT_FALSE(fs::exists(ws_.path() + "/../csb-planted")) << archive;
  }
}

TEST_P(UnzipTest, NamesManyRefusedMembersButNotAll) {
  const Outcome got = Unpack("bad-many.tar");
  EXPECT_EQ(NumberOf(got, "exit_code"), 1);
  EXPECT_THAT(got.err, HasSubstr("csb-planted999:"));
  EXPECT_THAT(got.err, HasSubstr("… and 500 more"));
  EXPECT_LT(got.err.size(), 100000u);
}

TEST_P(UnzipTest, AFileNeverGoesThroughALinkOfItsName) {
  const Outcome got = Unpack("replace-link.tar");
  EXPECT_EQ(NumberOf(got, "exit_code"), 0) << got.err;
  EXPECT_EQ(ws_.Read("dest/victim"), "old");
  EXPECT_EQ(ws_.Read("dest/l"), "new");
  EXPECT_FALSE(fs::is_symlink(ws_.At("dest/l")));
}

TEST_P(UnzipTest, LinksThatWaitInTheDestinationAreNotFollowed) {
  ws_.Write("outside/a.txt", "precious");
  ws_.Write("dest/keep", "k");
  symlink("../outside", ws_.At("dest/d").c_str());
  Outcome got = Unpack("good.tar");
  EXPECT_EQ(NumberOf(got, "exit_code"), 1);
  EXPECT_THAT(got.err, HasSubstr("d: a link of that name is in the destination"));
  EXPECT_EQ(ws_.Read("outside/a.txt"), "precious");
  EXPECT_EQ(Left(), (std::vector<std::string>{"dest", "dest/d", "dest/keep", "outside", "outside/a.txt"}));

  fs::remove(ws_.At("dest/d"));
  ws_.Write("dest/d/x", "x");
  symlink("../../outside/a.txt", ws_.At("dest/d/a.txt").c_str());
  got = Unpack("good.tar");
  EXPECT_THAT(got.err, HasSubstr("d/a.txt: a link of that name"));
  EXPECT_EQ(ws_.Read("outside/a.txt"), "precious");
  fs::remove(ws_.At("dest/d/a.txt"));
  mkfifo(ws_.At("dest/d/a.txt").c_str(), 0666);
  EXPECT_THAT(Unpack("good.tar").err, HasSubstr("d/a.txt: a special file of that name"));
}

TEST_P(UnzipTest, JoinsWhatIsThereAndTwiceIsFine) {
  ws_.Write("dest/d/a.txt", "old");
  ws_.Write("dest/d/mine", "m");
  for (int i = 0; i < 2; ++i) {
    const Outcome got = Unpack("good.tar");
    EXPECT_EQ(NumberOf(got, "exit_code"), 0) << got.err;
    EXPECT_EQ(ws_.Read("dest/d/a.txt"), "alpha");
    EXPECT_EQ(ws_.Read("dest/d/mine"), "m");
  }
}

TEST_P(UnzipTest, BombsEndAtTheLimitAndLeaveNothing) {
  for (const auto& [archive, limit, why] : std::vector<std::array<std::string, 3>>{
           {"bomb.zip", R"(,"max_bytes":20000000)", "more than 20000000 bytes"},
           {"liar.zip", R"(,"max_bytes":20000000)", "more than 20000000 bytes"},
           {"bomb.gz", R"(,"max_bytes":20000000)", "more than 20000000 bytes"},
           {"many.tar", R"(,"max_entries":499)", "more than 499 entries"},
           {"manydirs.tar", R"(,"max_entries":250)", "more than 250 entries"},
           {"sparse.tar", "", "more than 4294967296 bytes"}}) {
    const Outcome got = Unpack(archive, limit);
    EXPECT_EQ(got.code, CSB_OK) << archive << got.message;
    EXPECT_EQ(NumberOf(got, "exit_code"), 1) << archive;
    EXPECT_THAT(TextOf(got, "message"), HasSubstr(why)) << archive;
    EXPECT_EQ(Left(), std::vector<std::string>{}) << archive;
  }
  EXPECT_EQ(NumberOf(Unpack("many.tar", R"(,"max_entries":500)"), "exit_code"), 0);
}

TEST_P(UnzipTest, DamagedEncryptedAndForeignFilesSaySo) {
  for (const auto& [archive, why] :
       std::vector<std::array<std::string, 2>>{{"cut.tar.gz", "damaged"},
                                               {"cut.zip", "damaged"},
                                               {"crc.zip", "damaged"},
                                               {"text.zip", "not a zip, tar, gz"},
                                               {"empty.zip", "not a zip"},
                                               {"encrypted.zip", "is encrypted"}}) {
    const Outcome got = Unpack(archive);
    EXPECT_EQ(got.code, CSB_OK) << archive << got.message;
    EXPECT_EQ(NumberOf(got, "exit_code"), 1) << archive;
    EXPECT_THAT(got.err, HasSubstr(why)) << archive;
    EXPECT_THAT(got.err, HasSubstr("unzip: ")) << archive;
    EXPECT_EQ(Left(), std::vector<std::string>{}) << archive;
  }
}

TEST_P(UnzipTest, AnArchiveWithoutMembersIsOne) {
  const Outcome got = Unpack("none.zip");
  EXPECT_EQ(NumberOf(got, "exit_code"), 0) << got.err;
  EXPECT_THAT(got.out, HasSubstr("0 files"));
}

TEST_P(UnzipTest, MissingAndWrongArguments) {
  EXPECT_EQ(UnpackThere("in/missing.zip").message, "File not found: in/missing.zip");
  EXPECT_EQ(Unpack("good.tar", R"(,"max_bytes":-1)").code, CSB_E_INVALID);
  ws_.Write("dest", "a file");
  EXPECT_EQ(UnpackThere("in/good.tar").code, CSB_E_CONFLICT);
  mkfifo(ws_.At("in/fifo.zip").c_str(), 0666);
  EXPECT_EQ(UnpackThere("in/fifo.zip").code, CSB_E_INVALID);
}

TEST_P(UnzipTest, AFullDiskIsAnErrorAndLeavesNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root for a small tmpfs";
  ws_.Write("small/x", "");
  if (system(("mount -t tmpfs -o size=1m,mode=1777 none " + ws_.At("small")).c_str()) != 0)
    GTEST_SKIP() << "no mounts here";
  symlink("small", ws_.At("dest").c_str());
  const Outcome got = Unpack("bomb.zip");
  EXPECT_EQ(got.code, CSB_E_NO_SPACE) << got.message;
  EXPECT_TRUE(fs::is_empty(ws_.At("small")));
  ASSERT_EQ(system(("umount " + ws_.At("small")).c_str()), 0);
}

INSTANTIATE_TEST_SUITE_P(Both, UnzipTest, ::testing::Values(Confinement::kBest, Confinement::kWalk),
                         [](const auto& info) {
                           return info.param == Confinement::kBest ? "Openat2" : "Walk";
                         });

TEST(Unzip, DefaultDestinationIsTheArchivesFolder) {
  Workspace ws;
  ws.Write("in/good.zip", "");
  fs::copy_file(Archives() + "/good.zip", ws.At("in/good.zip"), fs::copy_options::overwrite_existing);
  const Outcome got = Do(ws, "unzip", R"({"path":"in/good.zip"})");
  EXPECT_EQ(NumberOf(got, "exit_code"), 0) << got.err << got.message;
  EXPECT_EQ(ws.Read("in/d/a.txt"), "alpha");
  EXPECT_EQ(TextOf(got, "cause"), "exit");
}

TEST(Unzip, WhatAKilledUnzipLeftIsRemovedByCleanup) {
  Workspace ws;
  ws.Write("dest/.csb-unzip-1-0000/a/b", "left");
  ws.Write("dest/.csb-write-1-0000", "left");
  ws.Write("dest/mine", "m");
  ws.Write("a.zip", "");
  const Outcome got = Do(ws, "file_cleanup", R"({"path":"a.zip","destination":"dest/new"})");
  EXPECT_EQ(NumberOf(got, "removed"), 2) << got.message;
  EXPECT_EQ(ws.Tree(), (std::vector<std::string>{"a.zip", "dest", "dest/mine"}));
}

// The agent is static and the image may have no locale; names must survive that.
TEST(Unzip, AStaticBinaryWithoutLocaleKeepsNames) {
  Workspace ws;
  for (const char* archive : {"utf8.zip", "utf8pax.tar", "latin.tar", "good.tar.xz"}) {
    ws.Write(archive, "");
    fs::copy_file(Archives() + "/" + archive, ws.At(archive), fs::copy_options::overwrite_existing);
    const std::string command = "env -i " CSB_FILES_STUB " unzip '{\"path\":\"" + std::string(archive) +
                                "\",\"destination\":\"dest\"}' " + ws.path() + " >/dev/null 3>" +
                                ws.At("result");
    ASSERT_EQ(system(command.c_str()), 0);
    EXPECT_THAT(ws.Read("result"), HasSubstr(R"("exit_code":0)")) << archive;
  }
  EXPECT_EQ(ws.Read("dest/é/ü 😀.txt"), "u");
  EXPECT_EQ(ws.Read("dest/é/ü.txt"), "u");
  EXPECT_EQ(ws.Read("dest/caf\xe9.txt"), "u");
  EXPECT_EQ(ws.Read("dest/d/a.txt"), "alpha");
}

TEST(MemberName, IsComparedByComponents) {
  const auto clean = [](std::string_view name) {
    auto got = CleanMemberName(name, {.depth = 4});
    return got ? *got : "!" + got.error().message;
  };
  EXPECT_EQ(clean("./a//b/"), "a/b");
  EXPECT_EQ(clean("a..b/..c"), "a..b/..c");
  EXPECT_EQ(clean("./"), "");
  EXPECT_EQ(clean(""), "!empty name");
  EXPECT_EQ(clean("a/.."), "!name contains ..");
  EXPECT_EQ(clean(std::string_view("a\0b", 3)), "!NUL byte in the name");
  EXPECT_EQ(clean("a/b/c/d"), "a/b/c/d");
  EXPECT_EQ(clean("a/b/c/d/e"), "!more than 4 folders deep");
  EXPECT_TRUE(CheckLinkTarget("a/b/l", "../../x/y"));
  EXPECT_FALSE(CheckLinkTarget("a/b/l", "../../../x"));
  EXPECT_FALSE(CheckLinkTarget("l", ".."));
  EXPECT_TRUE(CheckLinkTarget("l", "."));
  EXPECT_FALSE(CheckLinkTarget("a/l", "b/../c"));
  EXPECT_FALSE(CheckLinkTarget("a/l", ""));
}

TEST(ConfinedDir, NeitherWayLeaves) {
  Workspace ws;
  ws.Write("root/a/f", "x");
  symlink("..", ws.At("root/up").c_str());
  symlink("/", ws.At("root/abs").c_str());
  symlink("a", ws.At("root/in").c_str());
  for (const Confinement how : {Confinement::kBest, Confinement::kWalk}) {
    const ConfinedDir dir(Fd(open(ws.At("root").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), how);
    EXPECT_TRUE(dir.OpenFolder("")) << dir.uses_openat2();
    EXPECT_TRUE(dir.OpenFolder("a"));
    for (const char* path :
         {"up", "abs", "in", "up/x", "abs/etc", "..", "a/..", "a/../..", "a/f", "/etc", "/"}) {
      EXPECT_FALSE(dir.OpenFolder(path)) << path << dir.uses_openat2();
      EXPECT_FALSE(dir.MakeFolder(path)) << path << dir.uses_openat2();
    }
    EXPECT_TRUE(dir.MakeFolder("n/e/w"));
  }
  EXPECT_TRUE(fs::is_directory(ws.At("root/n/e/w")));
}

}  // namespace
}  // namespace csb::agent

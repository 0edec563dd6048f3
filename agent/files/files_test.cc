// SPDX-License-Identifier: Apache-2.0
//
// Reading, writing, deleting and listing as a user of the sandbox meets them.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <regex>

#include "agent/files/attributes.h"
#include "agent/files/task_io.h"
#include "agent/files/test_util.h"
#include "clara_sandbox/abi.h"

namespace csb::agent {
namespace {

namespace fs = std::filesystem;

std::string Path(const std::string& path) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "path", path);
  w.EndObject();
  return buffer.GetString();
}

mode_t ModeOf(const std::string& path) {
  struct stat st;
  return lstat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0xffff;
}

// --- read

TEST(FileRead, GivesMetaThenBytes) {
  Workspace ws;
  ws.Write("a.bin", std::string("a\0b\xff", 4));
  const Outcome got = Do(ws, "file_read", Path("a.bin"));
  EXPECT_EQ(got.code, CSB_OK) << got.message;
  EXPECT_EQ(got.out, std::string("a\0b\xff", 4));
  EXPECT_NE(got.meta.find(R"("size":4)"), std::string::npos) << got.meta;
  EXPECT_EQ(NumberOf(got, "length"), 4);
  EXPECT_EQ(TextOf(got, "mode"), "0644");
}

TEST(FileRead, Ranges) {
  Workspace ws;
  ws.Write("a", "0123456789");
  const auto part = [&](const std::string& range) {
    return Do(ws, "file_read", R"({"path":"a",)" + range + "}").out;
  };
  EXPECT_EQ(part(R"("offset":3)"), "3456789");
  EXPECT_EQ(part(R"("offset":3,"length":2)"), "34");
  EXPECT_EQ(part(R"("offset":-3)"), "789");
  EXPECT_EQ(part(R"("offset":-3,"length":1)"), "7");
  EXPECT_EQ(part(R"("offset":-100,"length":2)"), "01");
  EXPECT_EQ(part(R"("offset":10)"), "");
  EXPECT_EQ(part(R"("offset":99999999999)"), "");
  EXPECT_EQ(part(R"("length":0)"), "");
  EXPECT_EQ(part(R"("offset":-9223372036854775808,"length":9223372036854775807)"), "0123456789");
  EXPECT_EQ(Do(ws, "file_read", R"({"path":"a","length":-1})").code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_read", R"({"path":"a","offset":1.5})").code, CSB_E_INVALID);
}

TEST(FileRead, LargeFileComesWhole) {
  Workspace ws;
  std::string big(5 << 20, 'x');
  for (size_t i = 0; i < big.size(); i += 997) big[i] = static_cast<char>(i);
  ws.Write("big", big);
  EXPECT_TRUE(Do(ws, "file_read", Path("big")).out == big);
}

TEST(FileRead, SaysWhatIsWrong) {
  Workspace ws;
  ws.Write("secret", "x");
  chmod(ws.At("secret").c_str(), 0);
  symlink("loop", ws.At("loop").c_str());
  Outcome got = Do(ws, "file_read", Path("no/such"));
  EXPECT_EQ(got.code, CSB_E_NOT_FOUND);
  EXPECT_EQ(got.message, "File not found: no/such");
  EXPECT_EQ(Do(ws, "file_read", Path("secret")).code, CSB_E_FORBIDDEN);
  EXPECT_EQ(Do(ws, "file_read", Path("secret/x")).code, CSB_E_NOT_FOUND);
  EXPECT_EQ(Do(ws, "file_read", Path("loop")).code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_read", Path("")).code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_read", "{}").message, "path: is missing");
  EXPECT_EQ(Do(ws, "file_read", R"({"path":7})").code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_read", R"({"path":"a\u0000b"})").code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_read", Path(std::string(5000, 'a'))).code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_read", Path(std::string(300, 'a'))).code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_frob", Path("a")).code, CSB_E_UNSUPPORTED);
}

TEST(FileRead, NeverWaitsForFifosNorOpensDevices) {
  Workspace ws;
  mkfifo(ws.At("fifo").c_str(), 0666);
  mkdir(ws.At("dir").c_str(), 0777);
  const int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", ws.At("sock").c_str());
  ASSERT_EQ(bind(s, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  for (const std::string& path :
       {ws.At("fifo"), ws.At("dir"), ws.At("sock"), std::string("/dev/zero"), std::string("/")}) {
    const Outcome got = Do(ws, "file_read", Path(path), {.kill_after_ms = 5000});
    EXPECT_EQ(got.code, CSB_E_INVALID) << path << " " << got.message;
    EXPECT_EQ(got.out, "");
  }
  close(s);
}

TEST(FileRead, PseudoFilesAreReadThoughTheirSizeIsZero) {
  Workspace ws;
  EXPECT_NE(Do(ws, "file_read", Path("/proc/self/status")).out.find("Name:"), std::string::npos);
  ws.Write("empty", "");
  const Outcome empty = Do(ws, "file_read", Path("empty"));
  EXPECT_EQ(empty.code, CSB_OK);
  EXPECT_EQ(empty.out, "");
}

TEST(FileRead, FollowsLinksWithTheUsersRightsOnly) {
  Workspace ws;
  ws.Write("a", "A");
  symlink("a", ws.At("good").c_str());
  symlink("/etc/shadow", ws.At("bad").c_str());
  EXPECT_EQ(Do(ws, "file_read", Path("good")).out, "A");
  const Outcome bad = Do(ws, "file_read", Path("bad"));
  EXPECT_EQ(bad.code, CSB_E_FORBIDDEN);
  EXPECT_EQ(bad.out, "");
}

// --- write

TEST(FileWrite, MakesFoldersAndKeepsModes) {
  Workspace ws;
  Outcome got = Do(ws, "file_write", Path("a/b/c.txt"), {.input = "hi"});
  EXPECT_EQ(got.code, CSB_OK) << got.message;
  EXPECT_EQ(NumberOf(got, "size"), 2);
  EXPECT_EQ(ws.Read("a/b/c.txt"), "hi");
  EXPECT_EQ(ModeOf(ws.At("a/b/c.txt")), 0644u);
  chmod(ws.At("a/b/c.txt").c_str(), 0750);
  EXPECT_EQ(Do(ws, "file_write", Path("a/b/c.txt"), {.input = "new"}).code, CSB_OK);
  EXPECT_EQ(ws.Read("a/b/c.txt"), "new");
  EXPECT_EQ(ModeOf(ws.At("a/b/c.txt")), 0750u);
  EXPECT_EQ(Do(ws, "file_write", R"({"path":"x","mode":"0600"})", {.input = ""}).code, CSB_OK);
  EXPECT_EQ(ModeOf(ws.At("x")), 0600u);
  for (const char* mode : {"4755", "abc", "", "99", "00644"})
    EXPECT_EQ(Do(ws, "file_write", R"({"path":"x","mode":")" + std::string(mode) + "\"}").code, CSB_E_INVALID)
        << mode;
  EXPECT_EQ(ws.Tree(), (std::vector<std::string>{"a", "a/b", "a/b/c.txt", "x"}));
}

TEST(FileWrite, AKilledWriteLeavesTheOldFileAndNothingElse) {
  Workspace ws;
  ws.Write("a", "old");
  for (const char* path : {"a", "new/deep/b"}) {
    const Outcome got = Do(ws, "file_write", Path(path),
                           {.input = std::string(300000, 'x'), .end_of_input = false, .kill_after_ms = 300});
    EXPECT_EQ(got.exit_code, 128 + SIGKILL);
    EXPECT_EQ(got.code, -1);
  }
  EXPECT_EQ(ws.Read("a"), "old");
  EXPECT_EQ(ws.Tree(), std::vector<std::string>{"a"});
}

TEST(FileWrite, AFailedWriteLeavesNothing) {
  Workspace ws;
  ws.Write("file", "f");
  mkdir(ws.At("dir").c_str(), 0777);
  mkfifo(ws.At("fifo").c_str(), 0666);
  EXPECT_EQ(Do(ws, "file_write", Path("dir"), {.input = "x"}).code, CSB_E_CONFLICT);
  EXPECT_EQ(Do(ws, "file_write", Path("dir/"), {.input = "x"}).code, CSB_E_CONFLICT);
  EXPECT_EQ(Do(ws, "file_write", Path("dir/.."), {.input = "x"}).code, CSB_E_CONFLICT);
  EXPECT_EQ(Do(ws, "file_write", Path("new/"), {.input = "x"}).code, CSB_E_CONFLICT);
  EXPECT_EQ(Do(ws, "file_write", Path("file/x"), {.input = "x"}).code, CSB_E_CONFLICT);
  EXPECT_EQ(Do(ws, "file_write", Path("fifo"), {.input = "x"}).code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_write", Path("/dev/null"), {.input = "x"}).code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_write", Path("/etc/x"), {.input = "x"}).code, CSB_E_FORBIDDEN);
  EXPECT_EQ(Do(ws, "file_write", Path("/etc/new/folder/x"), {.input = "x"}).code, CSB_E_FORBIDDEN);
  EXPECT_EQ(Do(ws, "file_write", Path("new/" + std::string(300, 'n')), {.input = "x"}).code, CSB_E_INVALID);
  EXPECT_EQ(Do(ws, "file_write", Path("n1/n2/" + std::string(300, 'n') + "/x"), {.input = "x"}).code,
            CSB_E_INVALID);
  EXPECT_EQ(ws.Tree(), (std::vector<std::string>{"dir", "fifo", "file"}));
}

TEST(FileWrite, ReadOnlyFilesStay) {
  Workspace ws;
  ws.Write("ro", "old");
  chmod(ws.At("ro").c_str(), 0444);
  EXPECT_EQ(Do(ws, "file_write", Path("ro"), {.input = "x"}).code, CSB_E_FORBIDDEN);
  EXPECT_EQ(ws.Read("ro"), "old");
}

TEST(FileWrite, WritesToWhatALinkPointsTo) {
  Workspace ws;
  ws.Write("real/a", "old");
  symlink("real/a", ws.At("link").c_str());
  symlink("real/new", ws.At("dangling").c_str());
  symlink("/etc/passwd", ws.At("out").c_str());
  symlink("loop", ws.At("loop").c_str());
  EXPECT_EQ(Do(ws, "file_write", Path("link"), {.input = "new"}).code, CSB_OK);
  EXPECT_EQ(ws.Read("real/a"), "new");
  EXPECT_TRUE(fs::is_symlink(ws.At("link")));
  EXPECT_EQ(Do(ws, "file_write", Path("dangling"), {.input = "made"}).code, CSB_OK);
  EXPECT_EQ(ws.Read("real/new"), "made");
  EXPECT_EQ(Do(ws, "file_write", Path("out"), {.input = "x"}).code, CSB_E_FORBIDDEN);
  EXPECT_EQ(Do(ws, "file_write", Path("loop"), {.input = "x"}).code, CSB_E_INVALID);
}

TEST(FileWrite, AFullDiskIsToldAsSuch) {
  if (geteuid() != 0 || access("/dev/full", F_OK) != 0) GTEST_SKIP() << "needs root for a small tmpfs";
  Workspace ws;
  mkdir(ws.At("small").c_str(), 0777);
  const std::string mount = "mount -t tmpfs -o size=64k,mode=1777 none " + ws.At("small");
  if (system(mount.c_str()) != 0) GTEST_SKIP() << "no mounts here";
  const Outcome got = Do(ws, "file_write", Path("small/x"), {.input = std::string(1 << 20, 'x')});
  EXPECT_EQ(got.code, CSB_E_NO_SPACE) << got.message;
  EXPECT_NE(got.hint, "");
  EXPECT_FALSE(ws.Exists("small/x"));
  EXPECT_TRUE(fs::is_empty(ws.At("small")));
  ASSERT_EQ(system(("umount " + ws.At("small")).c_str()), 0);
}

// --- delete

TEST(FileDelete, DeletesLinksNotTheirTargets) {
  Workspace ws;
  ws.Write("dir/a", "A");
  symlink("dir", ws.At("link").c_str());
  EXPECT_EQ(Do(ws, "file_delete", R"({"path":"link/","recursive":true})").code, CSB_E_NOT_FOUND);
  EXPECT_EQ(Do(ws, "file_delete", R"({"path":"link","recursive":true})").code, CSB_OK);
  EXPECT_EQ(ws.Tree(), (std::vector<std::string>{"dir", "dir/a"}));
}

TEST(FileDelete, TreesNeedRecursive) {
  Workspace ws;
  ws.Write("dir/sub/a", "A");
  ws.Write("keep", "K");
  symlink(ws.At("keep").c_str(), ws.At("dir/sub/link").c_str());
  Outcome got = Do(ws, "file_delete", Path("dir"));
  EXPECT_EQ(got.code, CSB_E_CONFLICT);
  EXPECT_NE(got.hint, "");
  EXPECT_EQ(Do(ws, "file_delete", R"({"path":"dir","recursive":true})").code, CSB_OK);
  EXPECT_EQ(ws.Tree(), std::vector<std::string>{"keep"});
  EXPECT_EQ(Do(ws, "file_delete", Path("dir")).message, "File not found: dir");
}

TEST(FileDelete, DeepTreesNeedFewDescriptors) {
  Workspace ws;
  // Made by relative steps, as hostile code would: its path is longer than the kernel takes.
  const Outcome made = RunBody(
      ws,
      [](const json::Value&, const FileTaskIo& io) {
        if (chdir(io.workspace.c_str()) != 0 || mkdir("deep", 0755) != 0 || chdir("deep") != 0) return 1;
        for (int i = 0; i < 3000; ++i)
          if (mkdir("aaaaaaaaaa", 0755) != 0 || chdir("aaaaaaaaaa") != 0) return 2;
        return 0;
      },
      "{}");
  ASSERT_EQ(made.exit_code, 0);
  EXPECT_EQ(Do(ws, "file_delete", R"({"path":"deep","recursive":true})").code, CSB_OK);
  EXPECT_EQ(ws.Tree(), std::vector<std::string>{});
}

TEST(FileDelete, RefusesRootAndWorkspace) {
  Workspace ws;
  ws.Write("a/b", "x");
  symlink(".", ws.At("here").c_str());
  for (const std::string& path : {std::string("/"), std::string("."), std::string(".."), std::string("a/.."),
                                  ws.path(), ws.path() + "/", ws.At("a/../../") + ws.path().substr(5),
                                  std::string("/tmp"), ws.At("here/../") + ws.path().substr(5)}) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "path", path);
    json::Member(w, "recursive", true);
    w.EndObject();
    const Outcome got = Do(ws, "file_delete", buffer.GetString());
    EXPECT_EQ(got.code, CSB_E_INVALID) << path << ": " << got.message;
  }
  EXPECT_EQ(ws.Read("a/b"), "x");
}

// --- list and stat

TEST(FileList, LooksAsLsPrintsIt) {
  Workspace ws;
  ws.Write("b.txt", "bb");
  ws.Write("a.txt", "a");
  symlink("a.txt", ws.At("l").c_str());
  const Outcome got = Do(ws, "file_list", "{}");
  ASSERT_EQ(got.code, CSB_OK) << got.message;
  const std::string text = TextOf(got, "text");
  EXPECT_EQ(text.rfind("total ", 0), 0u) << text;
  EXPECT_NE(text.find(" .\n"), std::string::npos);
  EXPECT_NE(text.find(" ..\n"), std::string::npos);
  // The column is as wide as the parent folder's count of links.
  EXPECT_TRUE(std::regex_search(text, std::regex("-rw-r--r-- +1 "))) << text;
  EXPECT_NE(text.find(" l -> a.txt\n"), std::string::npos) << text;
  const json::Value& entries = *json::Find(got.result, "entries");
  ASSERT_EQ(entries.Size(), 3u);
  EXPECT_EQ(json::GetString(entries[0], "name"), "a.txt");
  EXPECT_EQ(json::GetInt(entries[1], "size"), 2);
  EXPECT_EQ(json::GetString(entries[2], "type"), "link");
  EXPECT_EQ(json::GetString(entries[2], "target"), "a.txt");
  EXPECT_EQ(json::GetBool(got.result, "truncated"), false);
  EXPECT_EQ(TextOf(got, "path"), ws.path());
}

TEST(FileList, HostileNamesCannotForgeLines) {
  Workspace ws;
  ws.Write("a\nb\x1b[31m", "x");
  ws.Write("\xff\xfe", "x");
  const Outcome got = Do(ws, "file_list", "{}");
  ASSERT_EQ(got.code, CSB_OK);
  const std::string text = TextOf(got, "text");
  EXPECT_NE(text.find(R"(a\012b\033[31m)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"(\377\376)"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const json::Value& entries = *json::Find(got.result, "entries");
  EXPECT_EQ(json::GetString(entries[0], "name"), "a\nb\x1b[31m");
  EXPECT_EQ(json::GetString(entries[1], "name"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(json::GetString(entries[1], "name_escaped"), R"(\377\376)");
}

TEST(FileList, LimitsAreTold) {
  Workspace ws;
  for (int i = 0; i < 20; ++i) ws.Write("f" + std::to_string(100 + i), "");
  const Outcome got = Do(ws, "file_list", R"({"limit":5})");
  const json::Value& entries = *json::Find(got.result, "entries");
  ASSERT_EQ(entries.Size(), 5u);
  EXPECT_EQ(json::GetString(entries[4], "name"), "f104");
  EXPECT_EQ(json::GetBool(got.result, "truncated"), true);
  EXPECT_EQ(NumberOf(got, "total"), 20);
  EXPECT_EQ(Do(ws, "file_list", R"({"limit":0})").code, CSB_E_INVALID);
}

TEST(FileList, AHugeFolderStillFitsInOneResult) {
  Workspace ws;
  for (int i = 0; i < 6000; ++i) ws.Write(std::to_string(i) + std::string(200, '\\'), "");
  const Outcome got = Do(ws, "file_list", "{}");
  ASSERT_EQ(got.code, CSB_OK) << got.message;
  EXPECT_EQ(json::GetBool(got.result, "truncated"), true);
  EXPECT_GT(json::Find(got.result, "entries")->Size(), 500u);
}

TEST(FileList, AFileListsItself) {
  Workspace ws;
  ws.Write("d/a", "abc");
  const Outcome got = Do(ws, "file_list", Path("d/a"));
  EXPECT_EQ(TextOf(got, "text").rfind("-rw-", 0), 0u);
  EXPECT_EQ(Do(ws, "file_list", Path("none")).code, CSB_E_NOT_FOUND);
  EXPECT_EQ(Do(ws, "file_list", Path("d")).code, CSB_OK);
}

TEST(FileStat, TellsTypesWithoutFollowing) {
  Workspace ws;
  ws.Write("a", "abc");
  symlink("nowhere", ws.At("l").c_str());
  mkfifo(ws.At("p").c_str(), 0600);
  EXPECT_EQ(NumberOf(Do(ws, "file_stat", Path("a")), "size"), 3);
  EXPECT_EQ(TextOf(Do(ws, "file_stat", Path("l")), "target"), "nowhere");
  EXPECT_EQ(TextOf(Do(ws, "file_stat", Path("p")), "type"), "fifo");
  EXPECT_EQ(TextOf(Do(ws, "file_stat", Path("/dev/null")), "type"), "char");
  EXPECT_EQ(TextOf(Do(ws, "file_stat", Path("/")), "name"), "/");
  EXPECT_EQ(Do(ws, "file_stat", Path("x")).code, CSB_E_NOT_FOUND);
}

TEST(Texts, EscapeIsReversibleAndTimesAreClamped) {
  EXPECT_EQ(EscapeName("pl\xc3\xa9in"), "pl\xc3\xa9in");
  EXPECT_EQ(EscapeName("a\\012"), R"(a\\012)");
  EXPECT_EQ(EscapeName("a\n"), R"(a\012)");
  EXPECT_EQ(EscapeName("\xc2\x9b"), R"(\302\233)");
  EXPECT_EQ(Rfc3339({0, 5'000'000}), "1970-01-01T00:00:00.005Z");
  EXPECT_EQ(Rfc3339({INT64_MAX, 0}), "9999-12-31T23:59:59.999Z");
  EXPECT_EQ(Rfc3339({INT64_MIN, 0}), "0000-01-01T00:00:00.000Z");
}

TEST(Task, AClosedResultChannelIsAnExitCodeNotACrash) {
  Workspace ws;
  const Outcome got = RunBody(
      ws,
      [](const json::Value& args, const FileTaskIo& io) {
        FileTaskIo broken = io;
        broken.result_fd = -1;
        return RunFileTask("file_list", args, broken);
      },
      "{}");
  EXPECT_EQ(got.exit_code, 1);
}

}  // namespace
}  // namespace csb::agent

// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/listing.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>

#include "plugins/common/json_testing.h"
#include "plugins/common/unique_fd.h"

namespace csb::remote {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Output(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen(command.c_str(), "re");
  EXPECT_NE(pipe, nullptr);
  char piece[4096];
  for (size_t n; (n = std::fread(piece, 1, sizeof piece, pipe)) > 0;) out.append(piece, n);
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return out;
}

std::map<std::string, Entry> ByName(std::string_view text) {
  std::map<std::string, Entry> out;
  for (Entry& entry : ReadListing(text)) {
    const std::string name = entry.name;
    EXPECT_TRUE(out.emplace(name, std::move(entry)).second) << name;
  }
  return out;
}

// What the real ls prints of all that a folder can hold.
TEST(ReadListing, ReadsWhatLsPrints) {
  const TemporaryFolder folder;
  const std::map<std::string, int> files = {
      {"plain", 0644},
      {" begins with a blank", 0600},
      {"ends with one ", 0755},
      {"two  blanks", 0400},
      {"-rw-r--r--", 0777},
      {"a -> b", 0640},
      {"\xC3\xA4\xE2\x82\xAC", 0644},
      {".hidden", 0000},
      {"total 0", 0644},
  };
  size_t size = 0;
  std::map<std::string, uint64_t> sizes;
  for (const auto& [name, mode] : files) {
    sizes[name] = ++size * 1000;
    WriteText(folder / name, std::string(sizes[name], 'x'));
    ASSERT_EQ(::chmod((folder / name).c_str(), static_cast<mode_t>(mode)), 0);
  }
  ASSERT_EQ(::truncate((folder / "plain").c_str(), 5'000'000'000), 0);  // no room is taken
  sizes["plain"] = 5'000'000'000;
  // As another user than root chmod drops these bits again.
  ASSERT_EQ(::mkdir((folder / "sticky").c_str(), 0755), 0);
  ASSERT_EQ(::chmod((folder / "sticky").c_str(), 01777), 0);
  WriteText(folder / "setuid", "");
  ASSERT_EQ(::chmod((folder / "setuid").c_str(), 06750), 0);
  WriteText(folder / "capital", "");
  ASSERT_EQ(::chmod((folder / "capital").c_str(), 07644), 0);
  ASSERT_EQ(::symlink("/no where", (folder / "link").c_str()), 0);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0644), 0);
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (folder / "sock").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);

  for (const char* locale : {"C", "C.UTF-8"}) {
    auto entries = ByName(Output("LC_ALL=" + std::string(locale) + " ls -la -- '" + folder.path() + "'"));
    EXPECT_THAT(entries, SizeIs(files.size() + 6));
    for (const auto& [name, mode] : files) {
      char octal[8];
      std::snprintf(octal, sizeof octal, "%04o", static_cast<unsigned>(mode));
      EXPECT_EQ(entries[name].type, "file") << name;
      EXPECT_EQ(entries[name].mode, octal) << name;
      EXPECT_EQ(entries[name].size, sizes[name]) << name;
    }
    EXPECT_EQ(entries["sticky"].type, "dir");
    EXPECT_EQ(entries["sticky"].mode, "1777");
    EXPECT_EQ(entries["setuid"].mode, "6750");
    EXPECT_EQ(entries["capital"].mode, "7644");
    EXPECT_EQ(entries["link"].type, "link");
    EXPECT_EQ(entries["link"].target, "/no where");
    EXPECT_EQ(entries["pipe"].type, "fifo");
    EXPECT_EQ(entries["sock"].type, "socket");
  }
}

TEST(ReadListing, ReadsDevices) {
  const auto entries = ByName(Output("ls -la /dev/null /dev/zero /dev/"));
  for (const char* name : {"/dev/null", "null", "zero"}) {
    ASSERT_TRUE(entries.contains(name)) << name;
    EXPECT_EQ(entries.at(name).type, "char");
    EXPECT_EQ(entries.at(name).mode, "0666");
    EXPECT_EQ(entries.at(name).size, 0u);
  }
  const auto block = ReadListing("brw-rw---- 1 root disk 259, 1024 Nov 27 11:00 nvme0\n");
  ASSERT_THAT(block, SizeIs(1));
  EXPECT_EQ(block[0].type, "block");
  EXPECT_EQ(block[0].name, "nvme0");
}

// A name with a line end is cut there; what follows is no entry, or one more that does no harm.
TEST(ReadListing, LinesThatAreNoneArePassedOver) {
  EXPECT_THAT(ReadListing(""), IsEmpty());
  for (const char* line :
       {"total 12", "ls: cannot open directory", "-rw-r--r--", "-rw-r--r-- 1 u u",
        "-rw-r--r-- 1 u u 5 Nov 27 11:00", "-rw-r--r-- 1 u u 5 Nov 27 11:00 ",
        "-rw-r--r-- 1 u u x Nov 27 11:00 a", "-rw-r--r-- 1 u u -5 Nov 27 11:00 a",
        "-rw-r--r-- 1 u u 99999999999999999999 Nov 27 11:00 a", "-rw-r--r-- 1 u u 5k Nov 27 11:00 a",
        "?rw-r--r-- 1 u u 5 Nov 27 11:00 a", "-rwxrwxrwz 1 u u 5 Nov 27 11:00 a",
        "drwx------ 2 u u 5 Nov 27 11:00 .", "drwx------ 2 u u 5 Nov 27 11:00 ..",
        "-rw-r--r--++ 1 u u 5 Nov 27 11:00 a", " ", "\r"})
    EXPECT_THAT(ReadListing(line), IsEmpty()) << line;
  EXPECT_THAT(
      ReadListing(
          "total 1\n\n-rw-r--r--+ 1 u u 5 Nov 27 11:00 a\nsecond half\n-rw-r--r--. 1 u u 5 Jan  1  1999 b"),
      SizeIs(2));
}

TEST(ReadListing, ASymbolicLinksTargetFollowsTheFirstArrow) {
  const auto entries =
      ReadListing("lrwxrwxrwx 1 u u 5 Nov 27 11:00 a -> b -> c\nlrwxrwxrwx 1 u u 5 Nov 27 11:00 d\n");
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].target, "b -> c");
  EXPECT_EQ(entries[1].name, "d");
  EXPECT_EQ(entries[1].target, "");
}

TEST(WriteEntries, IsTheFormOfTheInterface) {
  json::Buffer buffer;
  json::Writer w(buffer);
  WriteEntries(w,
               ReadListing("-rw-r--r-- 1 u u 5 Nov 27 11:00 a\"b\nlrwxrwxrwx 1 u u 1 Nov 27 11:00 l -> t\n"));
  EXPECT_EQ(std::string(buffer.GetString(), buffer.GetSize()),
            R"([{"name":"a\"b","type":"file","size":5,"mode":"0644"},)"
            R"({"name":"l","type":"link","size":1,"mode":"0777","target":"t"}])");
}

}  // namespace
}  // namespace csb::remote

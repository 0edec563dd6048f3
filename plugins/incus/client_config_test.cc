// SPDX-License-Identifier: Apache-2.0
//
// client_config.h: what the incus client writes, and what it never would.
#include "plugins/incus/client_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "plugins/common/temporary_folder.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;

// Of `incus remote add`, 6.0.
constexpr char kConfig[] = R"(default-remote: lab
remotes:
  images:
    addr: https://images.linuxcontainers.org
    protocol: simplestreams
    public: true
  lab:
    addr: https://10.0.0.5:8443
    auth_type: tls
    project: team
    protocol: incus
    public: false
  cluster:
    addrs:
    - https://m1.example:8443
    - https://m2.example:8443
  local:
    addr: unix://
    public: false
aliases: {}
)";

TEST(ClientConfig, ReadsWhatTheClientWrites) {
  auto remotes = ParseClientConfig(kConfig, "config.yml", "/conf");
  ASSERT_TRUE(remotes) << remotes.error().message;
  ASSERT_EQ(remotes->size(), 4u);
  const ClientRemote& lab = remotes->at("lab");
  EXPECT_EQ(lab.name, "lab");
  EXPECT_EQ(lab.address, "https://10.0.0.5:8443");
  EXPECT_EQ(lab.project, "team");
  EXPECT_EQ(lab.protocol, "incus");
  EXPECT_EQ(lab.auth, "tls");
  EXPECT_FALSE(lab.is_public);
  EXPECT_EQ(lab.ServerCertificate(), "/conf/servercerts/lab.crt");
  EXPECT_TRUE(remotes->at("images").is_public);
  EXPECT_EQ(remotes->at("images").protocol, "simplestreams");
  EXPECT_EQ(remotes->at("cluster").address, "https://m1.example:8443");
  EXPECT_EQ(remotes->at("cluster").protocol, "incus");
  for (const char* nothing : {"", "---\n", "# none\n", "remotes:\n", "remotes: {}\n", "aliases: {a: b}\n"}) {
    auto none = ParseClientConfig(nothing, "config.yml", "");
    ASSERT_TRUE(none) << nothing << none.error().message;
    EXPECT_TRUE(none->empty()) << nothing;
  }
}

TEST(ClientConfig, RefusesWhatTheClientWouldNotWrite) {
  std::string deep = "remotes: ", wide = "remotes: [";
  for (int i = 0; i < 5000; ++i) deep += "[";
  for (int i = 0; i < 100'001; ++i) wide += "1,";
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string last = "*a" + std::to_string(i - 1), name = "a" + std::to_string(i);
    bomb += name + ": &" + name + " [" + last + ", " + last + "]\n";
  }
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"remotes: [1", "config.yml: yaml-cpp: error at line 1"},
      {deep, "nested deeper than 16 levels"},
      {wide + "1]", "more than 100000 values"},
      {bomb, "aliases (*name) are not supported here"},
      {"remotes: &r [*r]", "aliases (*name) are not supported here"},
      {std::string((1 << 20) + 1, '#'), "larger than 1 MiB"},
      {std::string("a: \0b", 5), "no UTF-8 text"},
      {"a: \xff\xfe", "no UTF-8 text"},
      {"[1]", "no map of settings"},
      {"remotes: 5", "remotes is no map"},
      {"remotes: {a: 5}", "a remote is no map"},
      {"remotes: {a: {addr: [1]}}", "addr is no text"},
      {"remotes: {a: {project: {}}}", "project is no text"},
      {"remotes: {a: {addr: " + std::string(3000, 'x') + "}}", "addr is no text of at most 2048 bytes"},
      {"remotes: {\"../a\": {addr: x}}", "no possible name"},
      {"remotes: {\".\": {addr: x}}", "no possible name"},
      {"remotes: {\"a b\": {addr: x}}", "no possible name"},
      {"remotes: {[a]: {addr: x}}", "no possible name"},
      {"remotes: {" + std::string(200, 'n') + ": {addr: x}}", "no possible name"},
  };
  for (const auto& [text, says] : cases) {
    auto remotes = ParseClientConfig(text, "config.yml", "");
    ASSERT_FALSE(remotes) << text.substr(0, 100);
    EXPECT_EQ(remotes.error().code, CSB_E_INVALID);
    EXPECT_THAT(remotes.error().message, HasSubstr(says));
    EXPECT_LT(remotes.error().message.size(), 400u);
  }
}

class ClientConfigFiles : public ::testing::Test {
 protected:
  std::string Folder(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(folder_ / name);
    std::ofstream(folder_ / (name + "/config.yml")) << text;
    return folder_ / name;
  }
  TemporaryFolder folder_;
};

TEST_F(ClientConfigFiles, TheUsersOwnHideThoseOfTheMachine) {
  const std::string own = Folder("own", "remotes: {a: {addr: 'https://a:1'}, b: {addr: 'https://b:1'}}"),
                    all = Folder("all", "remotes: {b: {addr: 'https://x:1'}, c: {addr: 'https://c:1'}}");
  const ClientConfig config = ReadClientConfig({folder_ / "none", own, all});
  EXPECT_FALSE(config.problem);
  EXPECT_EQ(config.folder, folder_ / "none");  // where the client's own certificate would be
  EXPECT_EQ(config.remotes.size(), 3u);
  EXPECT_EQ(config.Find("b")->address, "https://b:1");
  EXPECT_EQ(config.Find("c")->folder, all);
  EXPECT_EQ(config.Find("images")->address, "https://images.linuxcontainers.org");
  auto none = config.Find("d");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, CSB_E_NOT_FOUND);
  EXPECT_EQ(none.error().message, "the incus client has no remote \"d\"");
  EXPECT_EQ(none.error().hint, "it has a, b, c");
  EXPECT_EQ(config.FindServer(*ParseAddress("c:1"))->name, "c");
  EXPECT_FALSE(config.FindServer(*ParseAddress("c:2")));
}

// A remote that is found is used; one that might stand in what can't be read is not made up.
TEST_F(ClientConfigFiles, ABrokenFileIsToldWhenItMatters) {
  const std::string broken = Folder("broken", "remotes: ["), good = Folder("good", "remotes: {a: {addr: x}}");
  const ClientConfig config = ReadClientConfig({broken, good});
  ASSERT_TRUE(config.problem);
  EXPECT_TRUE(config.Find("a"));
  auto images = config.Find("images");
  ASSERT_FALSE(images);
  EXPECT_THAT(images.error().message, HasSubstr("broken/config.yml: yaml-cpp: error"));
  std::filesystem::create_directories(folder_ / "folder/config.yml");
  EXPECT_THAT(ReadClientConfig({folder_ / "folder"}).problem->message, HasSubstr("this is no file"));
  std::filesystem::create_directories(folder_ / "fifo");
  ASSERT_EQ(mkfifo((folder_ / "fifo/config.yml").c_str(), 0600), 0);  // no wait for a writer
  EXPECT_THAT(ReadClientConfig({folder_ / "fifo"}).problem->message, HasSubstr("this is no file"));
}

}  // namespace
}  // namespace csb::incus

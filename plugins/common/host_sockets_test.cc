// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/host_sockets.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace csb {
namespace {

class HostSocketsTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(mkdtemp(folder_), nullptr); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Put(const std::string& path) { std::ofstream(path) << ""; }

  char folder_[32] = "/tmp/csb-hosts-XXXXXX";
};

TEST_F(HostSocketsTest, CountsTheLivingOnly) {
  EXPECT_EQ(HostsAt(folder_), 0);
  Put(NewHostSocket(folder_));
  EXPECT_EQ(HostsAt(folder_), 1);
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  ASSERT_EQ(waitpid(gone, nullptr, 0), gone);
  const std::string folder = folder_;
  for (const std::string& other :
       {std::to_string(gone) + "-0.sock", std::string("1-0.txt"), std::string("x-1.sock"),
        std::string("0-1.sock"), std::string("-1-1.sock")})
    Put(folder + "/" + other);
  EXPECT_EQ(HostsAt(folder_), 1);
  EXPECT_EQ(HostsAt(folder + "/missing"), 0);
}

TEST_F(HostSocketsTest, NamesAreNew) { EXPECT_NE(NewHostSocket(folder_), NewHostSocket(folder_)); }

TEST_F(HostSocketsTest, TellsWhoIsThere) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  EXPECT_EQ(PeerPid(pair[0]), getpid());
  close(pair[0]);
  close(pair[1]);
  EXPECT_EQ(PeerPid(pair[0]), 0);
}

}  // namespace
}  // namespace csb

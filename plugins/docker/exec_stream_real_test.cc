// SPDX-License-Identifier: Apache-2.0
//
// exec_stream.h on a real engine, as tests/engines/docker.sh tells of it: CSB_TEST_DOCKER_HOST (unix:///…)
// and CSB_TEST_DOCKER_IMAGE, and of one with `--tls` CSB_TEST_DOCKER_TLS_HOST (tcp://…),
// CSB_TEST_DOCKER_TLS_CERTS. Skipped without them, unless CSB_MUST_RUN names docker.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <thread>

#include "clara_sandbox/cpp/json.h"
#include "plugins/docker/exec_stream.h"

namespace csb::docker {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

HttpEndpoint Engine(const std::string& kind) {
  if (kind == "Socket") {
    const std::string host = Env("CSB_TEST_DOCKER_HOST");
    if (host.starts_with("unix://")) return {.url = "http://docker", .unix_socket = host.substr(7)};
  } else {
    const std::string host = Env("CSB_TEST_DOCKER_TLS_HOST"), certs = Env("CSB_TEST_DOCKER_TLS_CERTS");
    if (host.starts_with("tcp://"))
      return {.url = "https://" + host.substr(6),
              .ca = certs + "/ca.pem",
              .certificate = certs + "/cert.pem",
              .key = certs + "/key.pem"};
  }
  return {};
}

class ExecStreamReal : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const HttpEndpoint endpoint = Engine(GetParam());
    const std::string image = Env("CSB_TEST_DOCKER_IMAGE");
    if (endpoint.url.empty() || image.empty()) {
      ASSERT_TRUE(GetParam() != "Socket" ||
                  ("," + Env("CSB_MUST_RUN") + ",").find(",docker,") == std::string::npos)
          << "CSB_MUST_RUN names docker, and there is no engine";
      GTEST_SKIP() << "no engine: see tests/engines/README.md";
    }
    auto client = HttpClient::Create(*reactor_, endpoint);
    ASSERT_TRUE(client) << client.error().message;
    client_ = *std::move(client);
    auto made =
        client_->Call({.method = "POST",
                       .target = "/v1.41/containers/create",
                       .body = R"({"Image":")" + image + R"(","Entrypoint":["sleep","600"],"Cmd":[],)" +
                               R"("HostConfig":{"NetworkMode":"none"}})",
                       .timeout = 60s});
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->status, 201) << made->body;
    container_ = *json::GetString(*json::ParseObject(made->body), "Id");
    Post("/start", 204);
  }
  void TearDown() override {
    if (container_.empty()) return;
    auto gone = client_->Call(
        {.method = "DELETE", .target = "/v1.41/containers/" + container_ + "?force=1", .timeout = 60s});
    EXPECT_TRUE(gone && gone->status == 204);
  }
  void Post(const std::string& action, int status) {
    auto answer = client_->Call(
        {.method = "POST", .target = "/v1.41/containers/" + container_ + action, .timeout = 60s});
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->status, status) << answer->body;
  }
  Result<std::unique_ptr<ExecStream>> Open(const std::vector<std::string>& argv) {
    return ExecStream::Open(*reactor_, *client_, "/v1.41", container_, argv, 60s);
  }

  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("exec-test");
  std::unique_ptr<HttpClient> client_;
  std::string container_;
};

// Empty at the end.
std::string ReadSome(int fd, size_t most) {
  std::string out(most, '\0');
  pollfd wait{fd, POLLIN, 0};
  const ssize_t n = ::poll(&wait, 1, 60'000) == 1 ? ::recv(fd, out.data(), most, 0) : 0;
  out.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return out;
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    pollfd wait{fd, POLLOUT, 0};
    if (::poll(&wait, 1, 60'000) != 1) return false;
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

TEST_P(ExecStreamReal, EchoesThroughCat) {
  auto stream = Open({"cat"});
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  std::vector<double> times;
  for (int i = 0; i < 200; ++i) {
    const auto start = Clock::now();
    ASSERT_TRUE(WriteAll(fd.get(), "sixteen bytes .\n"));
    ASSERT_EQ(ReadSome(fd.get(), 64), "sixteen bytes .\n");
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("echo of 16 bytes: p50 %.3f ms, p99 %.3f ms\n", times[100], times[198]);

  constexpr size_t kSize = 100 << 20, kPattern = 1 << 20;
  std::string pattern(2 * kPattern, '\0');  // its second half as its first, to compare from any offset
  for (size_t i = 0; i < pattern.size(); ++i)
    pattern[i] = static_cast<char>(i % kPattern * 2654435761u >> 13);
  const auto start = Clock::now();
  std::thread writer([&] {
    for (size_t sent = 0; sent < kSize; sent += kPattern)
      EXPECT_TRUE(WriteAll(fd.get(), std::string_view(pattern).substr(0, kPattern)));
  });
  size_t got = 0;
  for (std::string piece; got < kSize && !(piece = ReadSome(fd.get(), 256 << 10)).empty();
       got += piece.size())
    ASSERT_TRUE(piece == std::string_view(pattern).substr(got % kPattern, piece.size())) << "at " << got;
  writer.join();
  EXPECT_EQ(got, kSize);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf("100 MiB up and down at once: %.0f MiB/s\n", 100 / seconds);
}

TEST_P(ExecStreamReal, RunsAsRootAndEndsWithTheProgram) {
  auto stream = Open({"sh", "-c", "id -u; echo no such thing >&2; exit 3"});
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  std::string all;
  for (std::string piece; !(piece = ReadSome(fd.get(), 100)).empty();) all += piece;
  EXPECT_EQ(all, "0\n");
  EXPECT_EQ((*stream)->Complaints(), "no such thing");
}

// The program sees its input end; what it does then reaches the container's own state.
TEST_P(ExecStreamReal, ClosingOurEndEndsTheProgramsInput) {
  auto stream = Open({"sh", "-c", "cat >/tmp/got; echo done >>/tmp/got"});
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  ASSERT_TRUE(WriteAll(fd.get(), "input\n"));
  fd.reset();
  auto look = Open({"sh", "-c", "until grep -q done /tmp/got; do :; done; cat /tmp/got"});
  ASSERT_TRUE(look) << look.error().message;
  fd = (*look)->TakeSocket();
  std::string all;
  for (std::string piece; !(piece = ReadSome(fd.get(), 100)).empty();) all += piece;
  EXPECT_EQ(all, "input\ndone\n");
}

TEST_P(ExecStreamReal, EndsWithTheContainer) {
  auto stream = Open({"cat"});
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  ASSERT_TRUE(WriteAll(fd.get(), "x"));
  ASSERT_EQ(ReadSome(fd.get(), 1), "x");
  Post("/kill", 204);
  EXPECT_EQ(ReadSome(fd.get(), 1), "");
  auto late = Open({"cat"});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, CSB_E_CONFLICT) << late.error().message;
}

TEST_P(ExecStreamReal, AProgramThatIsMissingIsSaid) {
  auto stream = Open({"/no/such/program"});
  // The engine may find it out before or after it answers.
  if (!stream) {
    EXPECT_NE(stream.error().message.find("no such file"), std::string::npos) << stream.error().message;
    return;
  }
  UniqueFd fd = (*stream)->TakeSocket();
  std::string all;
  for (std::string piece; !(piece = ReadSome(fd.get(), 1000)).empty();) all += piece;
  EXPECT_NE((all + (*stream)->Complaints()).find("no such file"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Engine, ExecStreamReal, ::testing::Values("Socket", "Tls"),
                         [](const auto& each) { return each.param; });

}  // namespace
}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
//
// exec_stream.h and event_stream.h on a real engine, as tests/engines/incus.sh tells of it:
// CSB_TEST_INCUS_SOCKET, CSB_TEST_INCUS_IMAGE, CSB_TEST_INCUS_POOL, and of one with `--https`
// CSB_TEST_INCUS_HTTPS (127.0.0.1:PORT), and incus-cluster.sh CSB_TEST_INCUS_CLUSTER_SOCKETS. Skipped without
// them, unless CSB_MUST_RUN names incus.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/temporary_folder.h"
#include "plugins/incus/event_stream.h"
#include "plugins/incus/exec_stream.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using ::testing::Contains;
using ::testing::HasSubstr;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Empty at the end.
std::string ReadSome(int fd, size_t most) {
  std::string out(most, '\0');
  pollfd wait{fd, POLLIN, 0};
  const ssize_t n = ::poll(&wait, 1, 60'000) == 1 ? ::recv(fd, out.data(), most, 0) : 0;
  out.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return out;
}

std::string ReadAll(int fd) {
  std::string all;
  for (std::string piece; !(piece = ReadSome(fd, 4096)).empty();) all += piece;
  return all;
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

// A certificate that vouches for itself, and its key, as PEM files.
struct Client {
  std::string certificate_file, key_file, base64, fingerprint;

  explicit Client(const std::string& folder)
      : certificate_file(folder + "/client.crt"), key_file(folder + "/client.key") {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> x(X509_new(), X509_free);
    X509_set_version(x.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(x.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x.get()), 3600);
    X509_set_pubkey(x.get(), key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("csb-test"), -1, -1, 0);
    X509_set_issuer_name(x.get(), X509_get_subject_name(x.get()));
    EXPECT_GT(X509_sign(x.get(), key.get(), EVP_sha256()), 0);
    const std::unique_ptr<FILE, decltype(&fclose)> pem(fopen(certificate_file.c_str(), "w+e"), fclose),
        secret(fopen(key_file.c_str(), "we"), fclose);
    EXPECT_EQ(PEM_write_X509(pem.get(), x.get()), 1);
    EXPECT_EQ(PEM_write_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr), 1);
    std::rewind(pem.get());
    char line[128];
    while (fgets(line, sizeof line, pem.get()) != nullptr)
      if (line[0] != '-') base64.append(line, std::strcspn(line, "\n"));
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EXPECT_EQ(X509_digest(x.get(), EVP_sha256(), digest, &size), 1);
    for (unsigned i = 0; i < size; ++i) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", digest[i]);
      fingerprint += hex;
    }
  }
};

class ExecStreamReal : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string socket = Env("CSB_TEST_INCUS_SOCKET"), image = Env("CSB_TEST_INCUS_IMAGE"),
                      pool = Env("CSB_TEST_INCUS_POOL");
    if (socket.empty() || image.empty() || pool.empty()) {
      ASSERT_EQ(("," + Env("CSB_MUST_RUN") + ",").find(",incus,"), std::string::npos)
          << "CSB_MUST_RUN names incus, and there is no engine";
      GTEST_SKIP() << "no engine: see tests/engines/README.md";
    }
    endpoint_ = {.url = "http://incus", .unix_socket = socket};
    std::string target;
    if (GetParam() == "Cluster") {
      // Through its first member, to an instance on its second.
      const std::string sockets = Env("CSB_TEST_INCUS_CLUSTER_SOCKETS");
      if (sockets.empty()) GTEST_SKIP() << "no cluster";
      endpoint_.unix_socket = sockets.substr(0, sockets.find(' '));
      target = "?target=m2";
    }
    auto client = HttpClient::Create(*reactor_, endpoint_);
    ASSERT_TRUE(client) << client.error().message;
    client_ = *std::move(client);
    if (GetParam() == "Tls") {
      if (Env("CSB_TEST_INCUS_HTTPS").empty()) GTEST_SKIP() << "no engine with --https";
      UseTls();
    }
    static std::atomic<int> next{0};
    name_ = "csb-exec-" + std::to_string(::getpid()) + "-" + std::to_string(next++);
    Do("POST", "/1.0/instances" + target,
       R"({"name":")" + name_ + R"(","type":"container","start":true,"profiles":[],"source":{)" +
           R"("type":"image","alias":")" + image +
           R"("},"config":{"raw.lxc":"lxc.init.cmd = /bin/sleep 600"},"devices":{"root":{"type":"disk",)" +
           R"("pool":")" + pool + R"(","path":"/"}}})");
  }
  void UseTls() {
    const Client me(folder_.path());
    auto added =
        client_->Call({.method = "POST",
                       .target = "/1.0/certificates",
                       .body = R"({"type":"client","name":"csb-test","certificate":")" + me.base64 + R"("})",
                       .timeout = 60s});
    ASSERT_TRUE(added && added->status == 201) << (added ? added->body : added.error().message);
    trusted_ = me.fingerprint;
    // The server's certificate names the machine, not its loopback.
    endpoint_ = {.url = "https://" + Env("CSB_TEST_INCUS_HTTPS"),
                 .certificate = me.certificate_file,
                 .key = me.key_file,
                 .verify = false};
    auto client = HttpClient::Create(*reactor_, endpoint_);
    ASSERT_TRUE(client) << client.error().message;
    client_ = *std::move(client);
  }
  void TearDown() override {
    if (!name_.empty()) {
      Stop();
      Do("DELETE", "/1.0/instances/" + name_, "");
    }
    if (trusted_.empty()) return;
    auto gone =
        client_->Call({.method = "DELETE", .target = "/1.0/certificates/" + trusted_, .timeout = 60s});
    EXPECT_TRUE(gone && gone->status == 200);
  }
  void Stop() {
    if (std::exchange(stopped_, true)) return;
    Do("PUT", "/1.0/instances/" + name_ + "/state", R"({"action":"stop","force":true,"timeout":-1})");
  }
  // To the end of the operation.
  void Do(const std::string& method, const std::string& path, const std::string& body) {
    auto made = client_->Call({.method = method, .target = path, .body = body, .timeout = 60s});
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->status, 202) << made->body;
    const auto doc = json::ParseObject(made->body);
    const auto id = json::GetString(*json::Find(*doc, "metadata"), "id");
    auto end =
        client_->Call({.target = "/1.0/operations/" + std::string(*id) + "/wait?timeout=60", .timeout = 70s});
    ASSERT_TRUE(end) << end.error().message;
    ASSERT_THAT(end->body, HasSubstr("Success"));
  }
  Result<std::unique_ptr<ExecStream>> Open(const std::vector<std::string>& argv) {
    return ExecStream::Open(*reactor_, *client_, "default", name_, argv, 60s);
  }
  std::string Output(const std::vector<std::string>& argv) {
    auto stream = Open(argv);
    EXPECT_TRUE(stream) << stream.error().message;
    if (!stream) return "";
    const UniqueFd fd = (*stream)->TakeSocket();
    return ReadAll(fd.get());
  }

  TemporaryFolder folder_;
  HttpEndpoint endpoint_;
  std::string trusted_;  // a certificate's fingerprint
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("exec-test");
  std::unique_ptr<HttpClient> client_;
  std::string name_;
  bool stopped_ = false;
};

TEST_P(ExecStreamReal, EchoesThroughCat) {
  const auto opening = Clock::now();
  auto stream = Open({"cat"});
  ASSERT_TRUE(stream) << stream.error().message;
  const double open = std::chrono::duration<double, std::milli>(Clock::now() - opening).count();
  UniqueFd fd = (*stream)->TakeSocket();
  std::vector<double> times;
  for (int i = 0; i < 500; ++i) {
    const auto start = Clock::now();
    ASSERT_TRUE(WriteAll(fd.get(), "sixteen bytes .\n"));
    ASSERT_EQ(ReadSome(fd.get(), 64), "sixteen bytes .\n");
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("open: %.1f ms; echo of 16 bytes: p50 %.3f ms, p99 %.3f ms\n", open, times[250], times[494]);

  constexpr size_t kSize = 100 << 20, kPattern = 1 << 20;
  std::string pattern(2 * kPattern, '\0');  // its second half as its first, to compare from any offset
  for (size_t i = 0; i < pattern.size(); ++i)
    pattern[i] = static_cast<char>(i % kPattern * 2654435761u >> 13);
  const auto start = Clock::now();
  std::thread writer([&] {
    for (size_t sent = 0; sent < kSize; sent += kPattern)
      EXPECT_TRUE(WriteAll(fd.get(), std::string_view(pattern).substr(0, kPattern)));
    ::shutdown(fd.get(), SHUT_WR);
  });
  size_t got = 0;
  bool same = true;
  for (std::string piece; !(piece = ReadSome(fd.get(), 256 << 10)).empty(); got += piece.size())
    same = same && piece == std::string_view(pattern).substr(got % kPattern, piece.size());
  writer.join();
  EXPECT_EQ(got, kSize);
  EXPECT_TRUE(same);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf("100 MiB up and down at once: %.0f MiB/s\n", 100 / seconds);
}

TEST_P(ExecStreamReal, CarriesALotEachWay) {
  constexpr size_t kSize = 100 << 20;
  auto stream = Open({"sh", "-c", "head -c 104857600 | sha256sum"});
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  auto start = Clock::now();
  const std::string mega(1 << 20, '\0');
  for (size_t sent = 0; sent < kSize; sent += mega.size()) ASSERT_TRUE(WriteAll(fd.get(), mega));
  // Of 100 MiB of zeros.
  EXPECT_EQ(ReadAll(fd.get()), "20492a4d0d84f8beb1767f6616229f85d44c2827b64bdbfb260ee12fa1109e0e  -\n");
  std::printf("up: %.0f MiB/s\n", 100 / std::chrono::duration<double>(Clock::now() - start).count());
  start = Clock::now();
  auto down = Open({"head", "-c", "104857600", "/dev/zero"});
  ASSERT_TRUE(down) << down.error().message;
  fd = (*down)->TakeSocket();
  size_t got = 0;
  bool zeros = true;
  for (std::string piece; !(piece = ReadSome(fd.get(), 256 << 10)).empty(); got += piece.size())
    zeros = zeros && piece.find_first_not_of('\0') == std::string::npos;
  EXPECT_EQ(got, kSize);
  EXPECT_TRUE(zeros);
  std::printf("down: %.0f MiB/s\n", 100 / std::chrono::duration<double>(Clock::now() - start).count());
}

TEST_P(ExecStreamReal, RunsAsRootAndEndsWithTheProgram) {
  auto stream = Open({"sh", "-c", "id -u; echo no such thing >&2; exit 3"});
  ASSERT_TRUE(stream) << stream.error().message;
  const UniqueFd fd = (*stream)->TakeSocket();
  EXPECT_EQ(ReadAll(fd.get()), "0\n");
  EXPECT_EQ((*stream)->Complaints(), "no such thing");
}

TEST_P(ExecStreamReal, ClosingOurEndEndsTheProgramsInput) {
  auto stream = Open({"sh", "-c", "cat >/tmp/got; echo done >>/tmp/got"});
  ASSERT_TRUE(stream) << stream.error().message;
  UniqueFd fd = (*stream)->TakeSocket();
  ASSERT_TRUE(WriteAll(fd.get(), "input\n"));
  fd.reset();
  EXPECT_EQ(Output({"sh", "-c", "until grep -q done /tmp/got; do :; done; cat /tmp/got"}), "input\ndone\n");
}

TEST_P(ExecStreamReal, DestroyingItKillsAProgramThatDoesNotEnd) {
  auto stream = Open({"sh", "-c", "echo $$ >/tmp/pid; exec sleep 500"});
  ASSERT_TRUE(stream) << stream.error().message;
  const std::string pid = Output(
      {"sh", "-c", "until test -s /tmp/pid; do :; done; p=$(cat /tmp/pid); test -d /proc/$p && echo $p"});
  EXPECT_NE(pid, "");
  stream->reset();
  EXPECT_EQ(Output({"sh", "-c", "while test -d /proc/$(cat /tmp/pid); do :; done; echo gone"}), "gone\n");
}

TEST_P(ExecStreamReal, EndsWithTheInstance) {
  auto stream = Open({"cat"});
  ASSERT_TRUE(stream) << stream.error().message;
  const UniqueFd fd = (*stream)->TakeSocket();
  ASSERT_TRUE(WriteAll(fd.get(), "x"));
  ASSERT_EQ(ReadSome(fd.get(), 1), "x");
  Stop();
  EXPECT_EQ(ReadSome(fd.get(), 1), "");
  auto late = Open({"cat"});
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message, HasSubstr("not running"));
}

TEST_P(ExecStreamReal, EndsWithAProgramThatIsKilled) {
  auto stream = Open({"sh", "-c", "echo $$; exec cat"});
  ASSERT_TRUE(stream) << stream.error().message;
  const UniqueFd fd = (*stream)->TakeSocket();
  const std::string pid = ReadSome(fd.get(), 20);
  Output({"sh", "-c", "kill -9 " + pid});
  EXPECT_EQ(ReadSome(fd.get(), 1), "");
}

TEST_P(ExecStreamReal, AProgramThatIsMissingIsSaid) {
  auto stream = Open({"/no/such/program"});
  ASSERT_TRUE(stream) << stream.error().message;
  const UniqueFd fd = (*stream)->TakeSocket();
  EXPECT_EQ(ReadAll(fd.get()), "");
  EXPECT_EQ((*stream)->Complaints(), "Command not found");
}

TEST_P(ExecStreamReal, EventsTellOfIt) {
  std::mutex mu;
  std::condition_variable changed;
  std::vector<std::string> told;
  const auto say = [&](const std::string& line) {
    const std::lock_guard lock(mu);
    told.push_back(line);
    changed.notify_all();
  };
  const auto wait = [&](const std::string& line) {
    std::unique_lock lock(mu);
    return changed.wait_for(lock, 60s,
                            [&] { return std::find(told.begin(), told.end(), line) != told.end(); });
  };
  auto events = EventStream::Open(
      *reactor_, endpoint_, {},
      {.on_event =
           [&](const EventStream::Event& event) {
             const auto source = json::GetString(event.metadata, "source");
             if (event.type == "lifecycle" && source && source->find(name_) != std::string_view::npos)
               say(std::string(json::GetString(event.metadata, "action").value_or("")) + " " +
                   std::string(event.project));
             if (event.type == "operation") say("operation");
           },
       .on_open = [&] { say("open"); },
       .on_lost = [&](const Error& why) { say("lost: " + why.message); }});
  ASSERT_TRUE(events) << events.error().message;
  ASSERT_TRUE(wait("open"));
  Output({"true"});
  EXPECT_TRUE(wait("instance-exec default"));
  Stop();
  EXPECT_TRUE(wait("instance-stopped default"));
  EXPECT_TRUE(wait("operation"));
}

INSTANTIATE_TEST_SUITE_P(Engine, ExecStreamReal, ::testing::Values("Socket", "Tls", "Cluster"),
                         [](const auto& each) { return each.param; });

}  // namespace
}  // namespace csb::incus

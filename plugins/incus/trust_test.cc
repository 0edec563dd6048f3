// SPDX-License-Identifier: Apache-2.0
//
// trust.h and command.h against a server that is scripted, over TLS: who is told the secret, and what is said
// of who is not believed.
#include "plugins/incus/trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "clara_sandbox/cpp/command.h"
#include "clara_sandbox/testing/fake_host.h"
#include "plugins/common/base64.h"
#include "plugins/common/http_fake_server.h"
#include "plugins/common/small_file.h"
#include "plugins/common/temporary_folder.h"
#include "plugins/incus/certificate.h"
#include "plugins/incus/command.h"
#include "plugins/incus/remotes.h"

namespace csb::incus {
namespace {

using testing::Answer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

// A server with a certificate of its own, as Incus makes it, which asks for the client's and takes any.
class FakeIncus {
 public:
  using Reply = std::function<std::string(const std::string& request)>;

  explicit FakeIncus(Reply reply) : reply_(std::move(reply)) {
    X509* x = certificate_.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key_.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("root@vm"), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION* names = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:vm");
    X509_add_ext(x, names, -1);
    X509_EXTENSION_free(names);
    EXPECT_GT(X509_sign(x, key_.get(), EVP_sha256()), 0);
    unsigned char* der = nullptr;
    const int size = i2d_X509(x, &der);
    der_.assign(reinterpret_cast<char*>(der), static_cast<size_t>(size));
    OPENSSL_free(der);
    SSL_CTX_use_certificate(context_.get(), x);
    SSL_CTX_use_PrivateKey(context_.get(), key_.get());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
    server_ = std::make_unique<testing::FakeServer>([this](testing::FakeServer::Peer& peer) { Serve(peer); },
                                                    testing::FakeServer::Kind::kTcp);
  }

  std::string address() const { return server_->endpoint().url.substr(7); }  // host:port
  std::string fingerprint() const { return *FingerprintOf(der_); }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::string client() const {  // whom the last request was of
    const std::lock_guard lock(mutex_);
    return client_;
  }

 private:
  void Serve(testing::FakeServer::Peer& peer) {
    const std::unique_ptr<SSL, Free> ssl(SSL_new(context_.get()));
    SSL_set_fd(ssl.get(), peer.fd());
    if (SSL_accept(ssl.get()) != 1) return;
    std::string request;
    char buffer[16384];
    for (int n; (n = SSL_read(ssl.get(), buffer, sizeof buffer)) > 0;) {
      request.append(buffer, static_cast<size_t>(n));
      const size_t head = request.find("\r\n\r\n"), length = request.find("Content-Length: ");
      if (head == std::string::npos) continue;
      const size_t body = length < head ? std::strtoul(request.c_str() + length + 16, nullptr, 10) : 0;
      if (request.size() < head + 4 + body) continue;
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
        const std::unique_ptr<X509, Free> theirs(SSL_get1_peer_certificate(ssl.get()));
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int size = 0;
        client_.clear();
        if (theirs) X509_digest(theirs.get(), EVP_sha256(), digest, &size);
        for (unsigned int i = 0; i < size; ++i) {
          char hex[3];
          std::snprintf(hex, sizeof hex, "%02x", digest[i]);
          client_ += hex;
        }
      }
      const std::string answer = reply_(request);
      if (SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size())) <= 0) return;
      request.clear();
    }
  }

  const Reply reply_;
  std::unique_ptr<EVP_PKEY, Free> key_{EVP_EC_gen("P-384")};
  std::unique_ptr<X509, Free> certificate_{X509_new()};
  std::unique_ptr<SSL_CTX, Free> context_{SSL_CTX_new(TLS_server_method())};
  std::string der_;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::string client_;
  std::unique_ptr<testing::FakeServer> server_;  // last: its threads use the rest
};

std::string Token(const std::string& fingerprint, const std::vector<std::string>& addresses,
                  const std::string& more = "") {
  std::string list;
  for (const std::string& address : addresses) list += (list.empty() ? "\"" : ",\"") + address + "\"";
  return base64::Encode(R"({"client_name":"me","fingerprint":")" + fingerprint + R"(","addresses":[)" + list +
                        R"(],"secret":"5ec7e7","expires_at":"0001-01-01T00:00:00Z")" + more + "}");
}

TEST(TrustToken, IsWhatIncusMakes) {
  const std::string print(64, 'a');
  auto token = ParseToken(" " + Token(print, {"10.0.0.5:8443", "[fd42::1]:8443", "10.0.0.5:8443"}) + "\n");
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->client_name, "me");
  EXPECT_EQ(token->fingerprint, print);
  EXPECT_EQ(token->expires_at, "");
  ASSERT_EQ(token->addresses.size(), 2u);
  EXPECT_EQ(token->addresses[1].Url(), "https://[fd42::1]:8443");
  EXPECT_EQ(token->text, Token(print, {"10.0.0.5:8443", "[fd42::1]:8443", "10.0.0.5:8443"}));
}

TEST(TrustToken, IsRefusedWithoutItsText) {
  const std::string print(64, 'a');
  const auto with = [](const std::string& json) { return base64::Encode(json); };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "it is empty"},
      {" \n", "it is empty"},
      {"not base64!", "not valid base64"},
      {Token(print, {"a:1"}).substr(0, 41), "not valid base64"},
      {std::string(70'000, 'A'), "longer than 64 KiB"},
      {with("[1]"), "no JSON object"},
      {with("{"), "no JSON object"},
      {with(std::string(10'000, '[')), "no JSON object"},
      {with("{}"), "its fingerprint is none"},
      {Token("zz", {"a:1"}), "its fingerprint is none"},
      {Token(std::string(65, 'a'), {"a:1"}), "fingerprint is no text, or too long"},
      {with(R"({"fingerprint":5})"), "fingerprint is no text"},
      {with(R"({"fingerprint":")" + print + R"(","addresses":["a:1"]})"), "it has no secret"},
      {with(R"({"fingerprint":")" + print + R"(","secret":"x","addresses":"a:1"})"), "no list of addresses"},
      {with(R"({"fingerprint":")" + print + R"(","secret":"x","addresses":[5]})"), "an address is no text"},
      {Token(print, {"a/b:1"}), "is no server's address"},
      {Token(print, std::vector<std::string>(65, "a:1")), "more than 64"},
      {Token(print, {}), "the token names no address of its server"},
  };
  for (const auto& [text, says] : cases) {
    auto token = ParseToken(text);
    ASSERT_FALSE(token) << says;
    EXPECT_EQ(token.error().code, CSB_E_INVALID);
    EXPECT_THAT(token.error().message, HasSubstr(says));
    EXPECT_THAT(token.error().message, Not(HasSubstr("5ec7e7")));
    EXPECT_NE(token.error().hint, "");
  }
}

class TrustTest : public ::testing::Test {
 protected:
  TrustTest() { ::signal(SIGPIPE, SIG_IGN); }  // of the server here, which writes by OpenSSL
  // As Incus does it: trusts who brings the token, once.
  static std::string Incus(const std::string& request, bool* trusted) {
    if (request.starts_with("POST /1.0/certificates ")) {
      if (*trusted)
        return Answer(R"({"type":"error","error":"Client is already trusted"})", "400 Bad Request");
      *trusted = true;
      return Answer(R"({"type":"sync","status_code":200})");
    }
    if (request.starts_with("GET /1.0/projects "))
      return Answer(R"({"metadata":["/1.0/projects/default","/1.0/projects/team"]})");
    return Answer(std::string(R"({"metadata":{"auth":")") + (*trusted ? "trusted" : "untrusted") +
                  R"(","environment":{"server_name":"vm","server_version":"6.0.4"}}})");
  }
  Result<Trusted> Trust(const std::string& text) {
    auto token = ParseToken(text);
    if (!token) return token.error();
    return TrustServer(*token, state_, [this](const std::string& line) { told_.push_back(line); });
  }
  std::string PinText(const FakeIncus& server) {
    auto text = ReadSmallFile(PinOf(state_, *ParseAddress(server.address())));
    return text ? *text : "";
  }

  TemporaryFolder folder_;
  const std::string state_ = folder_ / "state/incus";
  std::vector<std::string> told_;
};

TEST_F(TrustTest, AServerIsToldTheTokenAndPinned) {
  bool trusted = false;
  FakeIncus server([&](const std::string& request) { return Incus(request, &trusted); });
  const std::string text = Token(server.fingerprint(), {server.address()});
  auto result = Trust(text);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->already);
  EXPECT_EQ(result->server, "vm");
  EXPECT_EQ(result->version, "6.0.4");
  EXPECT_THAT(result->projects, ElementsAre("default", "team"));
  EXPECT_EQ(*FingerprintOf(PinText(server)), server.fingerprint());
  EXPECT_EQ(server.client(), *FingerprintOf(*ReadSmallFile(state_ + "/client.crt")));
  ASSERT_EQ(server.requests().size(), 3u);
  EXPECT_THAT(server.requests()[0],
              HasSubstr(R"({"type":"client","name":"me","trust_token":")" + text + "\"}"));
  // What the backend makes of it.
  auto remote = FindRemote("https://" + server.address(), state_, {});
  ASSERT_TRUE(remote) << remote.error().message;
  auto reactor = Reactor::Create("trust-test");
  auto client = HttpClient::Create(**reactor, remote->endpoint);
  auto answer = (*client)->Call({.target = "/1.0"});
  ASSERT_TRUE(answer) << answer.error().message;
  // Once more.
  result = Trust(text);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->already);
}

TEST_F(TrustTest, AnotherServerIsToldNothing) {
  bool trusted = false;
  FakeIncus server([&](const std::string& request) { return Incus(request, &trusted); });
  FakeIncus stranger([](const std::string&) { return Answer("{}"); });
  auto result = Trust(Token(server.fingerprint(), {stranger.address()}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, CSB_E_FORBIDDEN);
  EXPECT_THAT(result.error().message, HasSubstr("WRONG SERVER: https://" + stranger.address()));
  EXPECT_THAT(stranger.requests(), IsEmpty());
  EXPECT_EQ(PinText(stranger), "");
  // It may only have an address that the server has in its own network.
  result = Trust(Token(server.fingerprint(), {stranger.address(), "127.0.0.1:1", server.address()}));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->address.Url(), "https://" + server.address());
  EXPECT_THAT(stranger.requests(), IsEmpty());
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_THAT(told_[1], HasSubstr("is another server than the token's"));
  EXPECT_THAT(told_[2], HasSubstr("https://127.0.0.1:1: "));
}

TEST_F(TrustTest, NobodyAnswers) {
  auto result = Trust(Token(std::string(64, 'a'), {"127.0.0.1:1", "[::1]:1"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, CSB_E_UNAVAILABLE);
  EXPECT_EQ(result.error().message,
            "none of the addresses in the token answers: https://127.0.0.1:1, https://[::1]:1");
}

TEST_F(TrustTest, WhatTheServerSaysIsTold) {
  std::string answer =
      Answer(R"({"error":"No matching\n certificate add operation found"})", "403 Forbidden");
  bool trusted = true;
  FakeIncus server([&](const std::string& request) {
    return request.starts_with("POST") ? answer : Incus(request, &trusted);
  });
  const std::string text =
      Token(server.fingerprint(), {server.address()}, R"(,"expires_at":"2020-01-01T00:00:00Z")");
  auto result = Trust(text);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, CSB_E_FORBIDDEN);
  EXPECT_EQ(result.error().message,
            "https://" + server.address() +
                " does not take the token: No matching  certificate add operation found");
  EXPECT_THAT(result.error().hint, HasSubstr("a token works once"));
  EXPECT_EQ(PinText(server), "");
  for (const std::string& bad :
       {Answer("no JSON", "500 Oops"), Answer("[]", "403 Forbidden"), Answer(R"({"error":[1]})", "400 Bad"),
        Answer(R"({"error":")" + std::string(5000, 'x') + "\"}", "400 Bad"), std::string("SMTP ready\r\n")}) {
    answer = bad;
    result = Trust(text);
    ASSERT_FALSE(result) << bad.substr(0, 50);
    EXPECT_LT(result.error().message.size(), 500u);
    EXPECT_THAT(result.error().message, Not(HasSubstr("5ec7e7")));
  }
  answer = Answer("{}");
  trusted = false;
  result = Trust(text);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("took the token, but does not trust our certificate"));
  EXPECT_EQ(PinText(server), "");
  EXPECT_TRUE(std::filesystem::is_empty(state_ + "/servers"));
}

class TrustCommand : public TrustTest {
 protected:
  csb_status Run(const std::vector<std::string>& words) {
    static constexpr csb_command_output kOutput{
        sizeof(csb_command_output), 0, [](void* ctx, uint32_t stream, csb_str text) {
          auto& self = *static_cast<TrustCommand*>(ctx);
          (stream == CSB_STREAM_STDOUT ? self.out_ : self.err_) += View(text);
        }};
    out_.clear();
    err_.clear();
    std::vector<csb_str> arguments;
    for (const std::string& word : words) arguments.push_back(Str(word));
    error_ = {};
    error_.struct_size = sizeof error_;
    return CommandInterface()->run(host_.table(), "trust", arguments.data(),
                                   static_cast<uint32_t>(arguments.size()), &kOutput, this, &error_);
  }
  testing::FakeHost host_{{{"sandbox.state_dir", folder_ / "state"}}};
  std::string out_, err_;
  csb_error error_{};
};

TEST_F(TrustCommand, SaysWhatWasDoneAndWhatToSet) {
  ASSERT_EQ(CommandInterface()->command_count, 1u);
  EXPECT_STREQ(CommandInterface()->commands[0].name, "trust");
  EXPECT_EQ(Run({}), CSB_E_INVALID);
  EXPECT_STREQ(error_.message, "incus trust: one TOKEN is expected");
  EXPECT_EQ(Run({"a", "b"}), CSB_E_INVALID);
  EXPECT_EQ(Run({"bogus"}), CSB_E_INVALID);
  bool trusted = false;
  std::string projects;
  FakeIncus server([&](const std::string& request) {
    return !projects.empty() && request.starts_with("GET /1.0/projects ") ? Answer(projects)
                                                                          : Incus(request, &trusted);
  });
  const std::string url = "https://" + server.address(),
                    text = Token(server.fingerprint(), {server.address()});
  ASSERT_EQ(Run({text}), CSB_OK) << error_.message;
  EXPECT_THAT(out_, HasSubstr(url + " (vm, Incus 6.0.4) trusts us now, as \"me\".\n"));
  EXPECT_THAT(out_, HasSubstr("SHA-256 " + server.fingerprint()));
  EXPECT_THAT(out_, HasSubstr("\n  remote = " + url + "\n"));
  EXPECT_THAT(out_, HasSubstr("INCUS_REMOTE=" + url + "\n"));
  EXPECT_THAT(out_, Not(HasSubstr("project")));
  EXPECT_EQ(err_, "");
  projects = R"({"metadata":["/1.0/projects/team"]})";  // a certificate that is restricted
  ASSERT_EQ(Run({text}), CSB_OK) << error_.message;
  EXPECT_THAT(out_, HasSubstr("trusts us already; the token was not used up"));
  EXPECT_THAT(out_, HasSubstr("  project = team\n"));
  EXPECT_THAT(out_, HasSubstr("INCUS_PROJECT=team"));
}

TEST_F(TrustCommand, TakesTheTokenFromStandardInput) {
  bool trusted = false;
  FakeIncus server([&](const std::string& request) { return Incus(request, &trusted); });
  const std::string line = Token(server.fingerprint(), {server.address()}) + "\nmore";
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], line.data(), line.size()), static_cast<ssize_t>(line.size()));
  close(ends[1]);
  const int before = dup(STDIN_FILENO);
  ASSERT_GE(dup2(ends[0], STDIN_FILENO), 0);
  close(ends[0]);
  const csb_status code = Run({"-"});
  if (before >= 0) dup2(before, STDIN_FILENO);
  close(before);
  EXPECT_EQ(code, CSB_OK) << error_.message;
  EXPECT_TRUE(trusted);
}

}  // namespace
}  // namespace csb::incus

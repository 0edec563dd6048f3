// SPDX-License-Identifier: Apache-2.0
//
// http_client.h and http_upgrade.h over TLS: who is believed, and what is said of who is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>

#include <filesystem>

#include "plugins/common/base64.h"
#include "plugins/common/http_fake_server.h"
#include "plugins/common/http_upgrade.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Peer = testing::FakeServer::Peer;
using Kind = testing::FakeServer::Kind;

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(FILE* file) const { fclose(file); }
};

// A certificate and its key as PEM files; without an issuer an authority of its own, or, if it has a host, a
// server's that vouches for itself.
struct Identity {
  std::unique_ptr<EVP_PKEY, Free> key{EVP_EC_gen("P-256")};
  std::unique_ptr<X509, Free> certificate{X509_new()};
  std::string certificate_file, key_file;

  Identity(const std::string& folder, const std::string& name, const std::string& host,
           const Identity* issuer)
      : certificate_file(folder + "/" + name + ".pem"), key_file(folder + "/" + name + "-key.pem") {
    X509* x = certificate.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), static_cast<long>(name.size()));
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509* by = issuer == nullptr ? x : issuer->certificate.get();
    X509_set_issuer_name(x, X509_get_subject_name(by));
    X509V3_CTX context;
    X509V3_set_ctx(&context, by, x, nullptr, nullptr, 0);
    const auto extend = [&](int nid, const std::string& value) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
      EXPECT_NE(extension, nullptr);
      X509_add_ext(x, extension, -1);
      X509_EXTENSION_free(extension);
    };
    if (issuer == nullptr && host.empty()) extend(NID_basic_constraints, "critical,CA:TRUE");
    if (!host.empty()) extend(NID_subject_alt_name, host);
    EXPECT_GT(X509_sign(x, issuer == nullptr ? key.get() : issuer->key.get(), EVP_sha256()), 0);
    const std::unique_ptr<FILE, Free> pem(fopen(certificate_file.c_str(), "we")),
        secret(fopen(key_file.c_str(), "we"));
    EXPECT_EQ(PEM_write_X509(pem.get(), x), 1);
    EXPECT_EQ(PEM_write_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr), 1);
  }
};

class HttpTls : public ::testing::Test {
 protected:
  HttpTls() {
    ::signal(SIGPIPE, SIG_IGN);  // of the server here, which writes by OpenSSL
    char name[] = "/tmp/csb-tls-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    authority_ = std::make_unique<Identity>(folder_, "authority", "", nullptr);
    stranger_ = std::make_unique<Identity>(folder_, "stranger", "", nullptr);
    client_ = std::make_unique<Identity>(folder_, "client", "", authority_.get());
  }
  ~HttpTls() override { std::filesystem::remove_all(folder_); }

  // Asks for a certificate of the authority, answers each request, and an upgrade by echoing until the end.
  std::unique_ptr<testing::FakeServer> Server(const std::string& host = "IP:127.0.0.1") {
    return Serve(Identity(folder_, "server", host, authority_.get()));
  }
  std::unique_ptr<testing::FakeServer> Serve(const Identity& server, int newest = TLS1_3_VERSION) {
    std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), Free());
    EXPECT_EQ(SSL_CTX_use_certificate(context.get(), server.certificate.get()), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context.get(), server.key.get()), 1);
    EXPECT_EQ(SSL_CTX_load_verify_locations(context.get(), authority_->certificate_file.c_str(), nullptr), 1);
    SSL_CTX_set_max_proto_version(context.get(), newest);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    return std::make_unique<testing::FakeServer>(
        [context](Peer& peer) {
          const std::unique_ptr<SSL, Free> ssl(SSL_new(context.get()));
          SSL_set_fd(ssl.get(), peer.fd());
          if (SSL_accept(ssl.get()) != 1) {
            // A close over what was not read would overtake the alert.
            ::shutdown(peer.fd(), SHUT_WR);
            while (!peer.Request().empty()) continue;
            return;
          }
          std::string buffer(64 << 10, '\0');
          bool echo = false;
          for (int n; (n = SSL_read(ssl.get(), buffer.data(), static_cast<int>(buffer.size()))) > 0;) {
            const std::string_view got(buffer.data(), static_cast<size_t>(n));
            std::string answer(got);
            if (!echo) {
              echo = got.find("Upgrade: tcp") != std::string_view::npos;
              answer = echo ? "HTTP/1.1 101 Up\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                            : testing::Answer("{}");
            }
            if (SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size())) <= 0) return;
          }
        },
        Kind::kTcp);
  }
  HttpEndpoint Endpoint(const testing::FakeServer& server, const Identity* ca, const Identity* client) {
    HttpEndpoint endpoint{.url = "https" + server.endpoint().url.substr(4), .ca = ca->certificate_file};
    if (client != nullptr) {
      endpoint.certificate = client->certificate_file;
      endpoint.key = client->key_file;
    }
    return endpoint;
  }
  Result<HttpResponse> Call(const HttpEndpoint& endpoint) {
    auto client = HttpClient::Create(*reactor_, endpoint);
    if (!client) return client.error();
    return (*client)->Call({.target = "/info", .timeout = 20s});
  }
  void ExpectRefused(const HttpEndpoint& endpoint, const char* words) {
    auto answer = Call(endpoint);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, CSB_E_UNAVAILABLE);
    EXPECT_FALSE(answer.error().retryable);
    EXPECT_THAT(answer.error().message, ::testing::StartsWith("GET /info: TLS: "));
    EXPECT_THAT(answer.error().message, HasSubstr(words));
  }

  std::string folder_;
  std::unique_ptr<Identity> authority_, stranger_, client_;
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("tls-test");
};

TEST_F(HttpTls, BelievesAndIsBelievedByTheAuthorityGiven) {
  auto server = Server();
  auto answer = Call(Endpoint(*server, authority_.get(), client_.get()));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "{}");
}

TEST_F(HttpTls, SaysWhichSideIsNotBelieved) {
  auto server = Server();
  ExpectRefused(Endpoint(*server, stranger_.get(), client_.get()), "certificate");
  ExpectRefused(Endpoint(*server, authority_.get(), nullptr), "certificate required");
  ExpectRefused(Endpoint(*server, authority_.get(), stranger_.get()), "unknown ca");
  HttpEndpoint missing = Endpoint(*server, authority_.get(), client_.get());
  missing.certificate += ".none";
  ExpectRefused(missing, "certificate");
  auto other = Server("DNS:other.example");
  ExpectRefused(Endpoint(*other, authority_.get(), client_.get()), "127.0.0.1");
}

// By the server's own certificate, which vouches for itself and for names that nobody asks for.
TEST_F(HttpTls, APinnedCertificateIsBelievedUnderAnyNameAndNoOther) {
  const Identity own(folder_, "own", "DNS:incus.example", nullptr),
      impostor(folder_, "impostor", "DNS:incus.example", nullptr);
  auto server = Serve(own);
  HttpEndpoint endpoint = Endpoint(*server, &own, client_.get());
  ExpectRefused(endpoint, "127.0.0.1");
  endpoint.any_name = true;
  auto answer = Call(endpoint);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "{}");
  auto other = Serve(impostor);
  HttpEndpoint pinned = Endpoint(*other, &own, client_.get());
  pinned.any_name = true;
  ExpectRefused(pinned, "certificate");
  pinned.ca.clear();
  auto unpinned = HttpClient::Create(*reactor_, pinned);
  ASSERT_FALSE(unpinned);
  EXPECT_EQ(unpinned.error().code, CSB_E_INVALID);
}

// As `openssl dgst -sha256 -binary | base64` of the public key gives it.
std::string PinOf(const Identity& identity) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(identity.key.get(), &der);
  EXPECT_GT(size, 0);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EXPECT_EQ(EVP_Digest(der, static_cast<size_t>(size), digest, &length, EVP_sha256(), nullptr), 1);
  OPENSSL_free(der);
  return "sha256//" + base64::Encode({reinterpret_cast<const char*>(digest), length});
}

// Besides the authority's word: one that it vouches for has another key.
TEST_F(HttpTls, APinnedKeyIsAskedForBesides) {
  const Identity expected(folder_, "expected", "IP:127.0.0.1", authority_.get()),
      other(folder_, "other", "IP:127.0.0.1", authority_.get());
  auto server = Serve(expected);
  HttpEndpoint endpoint = Endpoint(*server, authority_.get(), client_.get());
  endpoint.pinned_key = PinOf(expected);
  auto answer = Call(endpoint);
  ASSERT_TRUE(answer) << answer.error().message;
  endpoint.pinned_key = PinOf(other) + ";" + PinOf(expected);
  EXPECT_TRUE(Call(endpoint)) << "before and after a change of keys";
  endpoint.pinned_key = PinOf(other);
  ExpectRefused(endpoint, "pinned public key");
  endpoint.pinned_key = PinOf(expected);
  endpoint.ca = stranger_->certificate_file;
  ExpectRefused(endpoint, "certificate");
}

TEST_F(HttpTls, AnOldServerIsRefusedWhereTls13IsAskedFor) {
  const Identity own(folder_, "own", "IP:127.0.0.1", nullptr);
  auto server = Serve(own, TLS1_2_VERSION);
  HttpEndpoint endpoint = Endpoint(*server, &own, client_.get());
  auto answer = Call(endpoint);
  ASSERT_TRUE(answer) << answer.error().message;
  endpoint.tls13 = true;
  ExpectRefused(endpoint, "version");
}

// Much more than one TLS record at once: what is decrypted already makes nothing readable.
TEST_F(HttpTls, AStreamLosesNothing) {
  auto server = Server();
  auto answer = Upgrade(Endpoint(*server, authority_.get(), client_.get()), "tcp",
                        {.method = "POST", .target = "/start", .timeout = 20s});
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_NE(answer->connection, nullptr);
  std::string sent(3 << 20, '\0'), received;
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761u >> 13);
  size_t done = 0;
  char buffer[5000];
  while (received.size() < sent.size()) {
    if (done < sent.size()) {
      auto n = answer->connection->Send(std::string_view(sent).substr(done, 48 << 10));
      ASSERT_TRUE(n) << n.error().message;
      done += *n;
    }
    bool idle = false;
    while (!idle) {
      auto got = answer->connection->Recv(buffer, sizeof buffer);
      ASSERT_TRUE(got) << got.error().message;
      ASSERT_NE(*got, std::optional<size_t>(0));
      idle = !*got;
      received.append(buffer, got->value_or(0));
    }
    if (received.size() == sent.size()) break;
    pollfd wait{answer->connection->fd(), static_cast<short>(POLLIN | (done < sent.size() ? POLLOUT : 0)), 0};
    ASSERT_EQ(::poll(&wait, 1, 20'000), 1);
  }
  EXPECT_TRUE(received == sent);
}

}  // namespace
}  // namespace csb

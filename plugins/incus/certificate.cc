// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/certificate.h"

#include <curl/curl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "plugins/common/errno_error.h"
#include "plugins/common/file_lock.h"
#include "plugins/common/printable.h"
#include "plugins/common/small_file.h"

namespace csb::incus {
namespace {

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Certificate = std::unique_ptr<X509, Free>;
using Bio = std::unique_ptr<BIO, Free>;

constexpr long kTenYears = 3650L * 24 * 3600;
constexpr size_t kMaxCertificate = 64 << 10;

Error Ssl(const std::string& what) { return {CSB_E_INTERNAL, "OpenSSL: cannot " + what, "", false}; }

Bio Reader(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(std::min(text.size(), kMaxCertificate))));
}

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

int NoPassword(char*, int, int, void*) { return -1; }

// PEM or DER; null: it is neither.
Certificate Parse(std::string_view text) {
  if (text.size() > kMaxCertificate) return nullptr;
  Certificate out(PEM_read_bio_X509(Reader(text).get(), nullptr, NoPassword, nullptr));
  if (out == nullptr) {
    const auto* der = reinterpret_cast<const unsigned char*>(text.data());
    out.reset(d2i_X509(nullptr, &der, static_cast<long>(text.size())));
  }
  ERR_clear_error();
  return out;
}

bool Extend(X509* x, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, x, x, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Free> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension != nullptr && X509_add_ext(x, extension.get(), -1) == 1;
}

// What servers show in their list of the trusted.
std::string CommonName() {
  char host[65] = {};
  if (gethostname(host, sizeof host - 1) != 0) host[0] = 0;
  return ("clara-sandbox@" + Printable(host, 40)).substr(0, 64);
}

struct Pair {
  std::string certificate, key;
};

Result<Pair> MakePair() {
  const Key key(EVP_EC_gen("P-384"));
  const Certificate x(X509_new());
  if (key == nullptr || x == nullptr) return Ssl("make a key");
  unsigned char serial[8] = {};
  if (RAND_bytes(serial, sizeof serial) != 1) return Ssl("get random numbers");
  uint64_t number = 0;
  for (const unsigned char byte : serial) number = number << 8 | byte;
  const std::string name = CommonName();
  X509_NAME* subject = X509_get_subject_name(x.get());
  const bool made =
      X509_set_version(x.get(), 2) == 1 &&
      ASN1_INTEGER_set_uint64(X509_get_serialNumber(x.get()), number >> 1 | 1) == 1 &&
      // Machines' clocks differ.
      X509_gmtime_adj(X509_getm_notBefore(x.get()), -24L * 3600) != nullptr &&
      X509_gmtime_adj(X509_getm_notAfter(x.get()), kTenYears) != nullptr &&
      X509_set_pubkey(x.get(), key.get()) == 1 &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1 &&
      X509_set_issuer_name(x.get(), subject) == 1 &&
      Extend(x.get(), NID_basic_constraints, "critical,CA:FALSE") &&
      Extend(x.get(), NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
      Extend(x.get(), NID_ext_key_usage, "clientAuth") && X509_sign(x.get(), key.get(), EVP_sha384()) > 0;
  const Bio certificate(BIO_new(BIO_s_mem())), secret(BIO_new(BIO_s_secmem()));
  if (!made || certificate == nullptr || secret == nullptr ||
      PEM_write_bio_X509(certificate.get(), x.get()) != 1 ||
      PEM_write_bio_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return Ssl("make a certificate");
  return Pair{TextOf(certificate.get()), TextOf(secret.get())};
}

Status CheckPair(const Identity& files) {
  auto certificate = ReadSmallFile(files.certificate);
  if (!certificate) return certificate.error();
  auto secret = ReadSmallFile(files.key);
  if (!secret) return secret.error();
  const auto broken = [](const std::string& what) {
    return Error{CSB_E_INVALID, what,
                 "remove client.crt and client.key there, and have the server trust the new ones: "
                 "`clara-sandbox incus trust TOKEN`",
                 false};
  };
  const Certificate x = Parse(*certificate);
  if (x == nullptr) return broken(files.certificate + " is no certificate");
  const Key key(PEM_read_bio_PrivateKey(Reader(*secret).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (key == nullptr) return broken(files.key + " is no key, or one with a password");
  const bool fit = X509_check_private_key(x.get(), key.get()) == 1;
  ERR_clear_error();
  if (!fit) return broken(files.key + " is not the key of " + files.certificate);
  return {};
}

// libcurl's own sockets stay open in the programs that others start.
curl_socket_t Open(void*, curlsocktype, curl_sockaddr* address) {
  const int fd =
      ::socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
  return fd >= 0 ? fd : CURL_SOCKET_BAD;
}

// "Cert:-----BEGIN CERTIFICATE-----…" of the first certificate, the server's own.
std::string CertificateOf(const curl_certinfo* info) {
  if (info == nullptr || info->num_of_certs < 1) return {};
  constexpr std::string_view kField = "Cert:";
  for (const curl_slist* item = info->certinfo[0]; item != nullptr; item = item->next)
    if (std::string_view(item->data).starts_with(kField)) return item->data + kField.size();
  return {};
}

}  // namespace

Result<Identity> FindIdentity(const std::string& folder) {
  Identity files{folder + "/client.crt", folder + "/client.key"};
  if (!Exists(files.certificate) || !Exists(files.key))
    return Error{CSB_E_NOT_FOUND, "there is no client certificate in " + folder, "", false};
  if (Status s = CheckPair(files); !s) return s.error();
  return files;
}

Result<Identity> OwnIdentity(const std::string& folder) {
  if (auto found = FindIdentity(folder); found || found.error().code != CSB_E_NOT_FOUND) return found;
  if (Status s = MakeFolders(folder, 0711); !s) return s.error();
  const Identity files{folder + "/client.crt", folder + "/client.key"};
  auto lock = FileLock::Take(folder + "/client.lock", {files.certificate});
  if (!lock) return lock.error();
  if (auto found = FindIdentity(folder); found || found.error().code != CSB_E_NOT_FOUND) return found;
  RemoveUnfinished(files.key);
  RemoveUnfinished(files.certificate);
  auto pair = MakePair();
  if (!pair) return pair.error();
  // The certificate last: who sees it finds its key. A half that was left alone goes first.
  if (unlink(files.certificate.c_str()) != 0 && errno != ENOENT)
    return ErrnoError("unlink", files.certificate);
  if (Status s = ReplaceSmallFile(files.key, pair->key, true); !s) return s.error();
  if (Status s = ReplaceSmallFile(files.certificate, pair->certificate, true); !s) return s.error();
  if (Status s = SyncFile(files.certificate); !s) return s.error();
  return files;
}

Result<std::string> FingerprintOf(std::string_view certificate) {
  const Certificate x = Parse(certificate);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (x == nullptr || X509_digest(x.get(), EVP_sha256(), digest, &size) != 1)
    return Error{CSB_E_INVALID, "this is no X.509 certificate", "PEM or DER is expected", false};
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr char kHex[] = "0123456789abcdef";
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return out;
}

Result<std::string> FetchServerCertificate(const Address& address, std::chrono::milliseconds timeout) {
  const std::unique_ptr<CURL, Free> curl(curl_easy_init());
  if (curl == nullptr) return Error{CSB_E_NO_CAPACITY, "libcurl: out of memory", "", true};
  const std::string url = address.Url();
  char words[CURL_ERROR_SIZE] = {};
  CURLcode failed = CURLE_OK;
  const auto set = [&](CURLoption option, auto value) {
    if (const CURLcode code = curl_easy_setopt(curl.get(), option, value); failed == CURLE_OK) failed = code;
  };
  set(CURLOPT_ERRORBUFFER, words);
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_CONNECT_ONLY, 1L);
  set(CURLOPT_CERTINFO, 1L);
  set(CURLOPT_SSL_VERIFYPEER, 0L);
  set(CURLOPT_SSL_VERIFYHOST, 0L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_3));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  set(CURLOPT_QUICK_EXIT, 1L);
  set(CURLOPT_OPENSOCKETFUNCTION, &Open);
  if (failed != CURLE_OK)
    return Error{CSB_E_INTERNAL, std::string("libcurl refuses an option: ") + curl_easy_strerror(failed), "",
                 false};
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) {
    const std::string said = Printable(words[0] != 0 ? words : curl_easy_strerror(code), 300);
    return Error{CSB_E_UNAVAILABLE, url + ": " + said, "", true};
  }
  curl_certinfo* info = nullptr;
  curl_easy_getinfo(curl.get(), CURLINFO_CERTINFO, &info);
  std::string pem = CertificateOf(info);
  if (pem.size() > kMaxCertificate || Parse(pem) == nullptr)
    return Error{CSB_E_UNAVAILABLE, url + ": the server has shown no certificate", "", false};
  return pem;
}

std::string PinOf(const std::string& folder, const Address& address) {
  return folder + "/servers/" + address.FileName() + ".crt";
}

}  // namespace csb::incus

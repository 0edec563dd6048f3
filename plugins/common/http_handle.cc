// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/http_handle.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <system_error>

#include "plugins/common/errno_error.h"
#include "plugins/common/printable.h"

namespace csb {
namespace {

constexpr size_t kMaxMessage = 400;

bool IsTls(CURLcode code) {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
      return true;
    default:
      return false;
  }
}

}  // namespace

Status CheckEndpoint(const HttpEndpoint& endpoint) {
  const auto invalid = [](std::string message) {
    return Error{CSB_E_INVALID, std::move(message), "", false};
  };
  const bool https = endpoint.url.starts_with("https://");
  if (!https && !endpoint.url.starts_with("http://"))
    return invalid("the server's address is neither http:// nor https://: " + Printable(endpoint.url, 200));
  const size_t authority = https ? 8 : 7;
  if (endpoint.url.size() == authority || endpoint.url.find_first_of("/?# ", authority) != std::string::npos)
    return invalid("the server's address is no host and port: " + Printable(endpoint.url, 200));
  if (!endpoint.unix_socket.empty() && endpoint.unix_socket[0] != '/')
    return invalid("the path of the server's socket is not absolute: " +
                   Printable(endpoint.unix_socket, 200));
  if (endpoint.unix_socket.size() >= sizeof(sockaddr_un::sun_path))
    return invalid("the path of the server's socket is longer than " +
                   std::to_string(sizeof(sockaddr_un::sun_path) - 1) +
                   " bytes: " + Printable(endpoint.unix_socket, 200));
  if (endpoint.any_name && endpoint.ca.empty())
    return invalid("a server of any name needs its own certificate to be known by");
  if (endpoint.certificate.empty() != endpoint.key.empty())
    return invalid("a client's certificate needs its key, and a key its certificate");
  return {};
}

Result<std::unique_ptr<HttpHandle>> HttpHandle::Create(const HttpEndpoint& endpoint) {
  std::unique_ptr<HttpHandle> handle(new HttpHandle(endpoint));
  // Initialises libcurl where nobody has, which is safe from any thread since 7.84.
  handle->curl_ = curl_easy_init();
  if (handle->curl_ == nullptr) return Error{CSB_E_NO_CAPACITY, "libcurl: out of memory", "", true};
  if (auto set = handle->Configure(); !set) return set.error();
  return handle;
}

HttpHandle::~HttpHandle() {
  if (curl_ != nullptr) curl_easy_cleanup(curl_);
}

Status HttpHandle::Configure() {
  CURLcode failed = CURLE_OK;
  const auto set = [&](CURLoption option, auto value) {
    if (const CURLcode code = curl_easy_setopt(curl_, option, value); code != CURLE_OK && failed == CURLE_OK)
      failed = code;
  };
  set(CURLOPT_ERRORBUFFER, message_);
  set(CURLOPT_URL, endpoint_.url.c_str());
  set(CURLOPT_PATH_AS_IS, 1L);
  if (!endpoint_.unix_socket.empty()) set(CURLOPT_UNIX_SOCKET_PATH, endpoint_.unix_socket.c_str());
  set(CURLOPT_NOSIGNAL, 1L);
  if (!endpoint_.proxy_from_environment) set(CURLOPT_PROXY, "");
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_HTTP_VERSION,
      static_cast<long>(endpoint_.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
  set(CURLOPT_HTTP09_ALLOWED, 0L);
  // A server that takes no connection for this long is not there, however long the answer may take.
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(endpoint_.connect_timeout.count()));
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_USERAGENT, "clara-sandbox/" CSB_VERSION);
  set(CURLOPT_QUICK_EXIT, 1L);  // a cancelled call does not wait for its look-up of a name
  set(CURLOPT_SSLVERSION,
      static_cast<long>(endpoint_.tls13 ? CURL_SSLVERSION_TLSv1_3 : CURL_SSLVERSION_TLSv1_2));
  set(CURLOPT_SSL_VERIFYPEER, endpoint_.verify ? 1L : 0L);
  set(CURLOPT_SSL_VERIFYHOST, endpoint_.verify && !endpoint_.any_name ? 2L : 0L);
  if (!endpoint_.ca.empty()) {
    set(CURLOPT_CAINFO, endpoint_.ca.c_str());
    set(CURLOPT_CAPATH, nullptr);  // the given one only
  }
  if (!endpoint_.pinned_key.empty()) set(CURLOPT_PINNEDPUBLICKEY, endpoint_.pinned_key.c_str());
  if (!endpoint_.certificate.empty()) {
    set(CURLOPT_SSLCERT, endpoint_.certificate.c_str());
    set(CURLOPT_SSLKEY, endpoint_.key.c_str());
  }
  set(CURLOPT_OPENSOCKETFUNCTION, &HttpHandle::Open);
  set(CURLOPT_OPENSOCKETDATA, this);
  if (failed != CURLE_OK)
    return Error{CSB_E_INTERNAL, std::string("libcurl refuses an option: ") + curl_easy_strerror(failed), "",
                 false};
  return {};
}

// libcurl's own sockets stay open in the programs that we start: it knows no SOCK_CLOEXEC before 8.12.
curl_socket_t HttpHandle::Open(void* self, curlsocktype, curl_sockaddr* address) {
  const int fd =
      ::socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
  static_cast<HttpHandle*>(self)->socket_errno_ = fd >= 0 ? 0 : errno;
  return fd >= 0 ? fd : CURL_SOCKET_BAD;
}

// A connect to a Unix socket whose queue is full fails with EAGAIN, which libcurl takes for EINPROGRESS. Then
// it finds the socket neither connected nor in error, or that nothing can be sent on it.
bool HttpHandle::Busy(CURLcode code) const {
  if (endpoint_.unix_socket.empty() || socket_errno_ != 0) return false;
  long os_errno = 0;
  curl_easy_getinfo(curl_, CURLINFO_OS_ERRNO, &os_errno);
  return (code == CURLE_COULDNT_CONNECT && (os_errno == 0 || os_errno == EAGAIN)) ||
         (code == CURLE_SEND_ERROR && os_errno == ENOTCONN);
}

Error HttpHandle::Failure(std::string_view what, CURLcode code) const {
  const std::string prefix = std::string(what) + ": ";
  // The first message stays, and this one is of a connection that ended before it was used: what it ended
  // with comes after it.
  const bool own = message_[0] != '\0' && std::string_view(message_).find("getpeername()") != 0;
  std::string words = Printable(own ? message_ : curl_easy_strerror(code), kMaxMessage);
  Error error{CSB_E_UNAVAILABLE, "", "", true};
  if (code == CURLE_OUT_OF_MEMORY) {
    error.code = CSB_E_NO_CAPACITY;
  } else if (code == CURLE_COULDNT_CONNECT) {
    long os_errno = socket_errno_;
    if (os_errno == 0) curl_easy_getinfo(curl_, CURLINFO_OS_ERRNO, &os_errno);
    if (Busy(code)) os_errno = EAGAIN;
    const std::string& where = endpoint_.unix_socket.empty() ? endpoint_.url : endpoint_.unix_socket;
    const Error cause = ErrnoError("connect", where, static_cast<int>(os_errno));
    words = os_errno == 0 ? words : cause.message;
    if (cause.code == CSB_E_NO_CAPACITY) error = cause;
    error.retryable = cause.code != CSB_E_FORBIDDEN;
  } else if (IsTls(code) || (endpoint_.url.starts_with("https:") && words.find("SSL") != std::string::npos &&
                             words.find("alert") != std::string::npos)) {
    // With TLS 1.3 a refused certificate of ours shows when the answer is read.
    words = "TLS: " + words;
    error.retryable = false;
  } else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY) {
    words = "what answers does not speak HTTP (" + words + ")";
    error.retryable = false;
  }
  error.message = prefix + words;
  return error;
}

}  // namespace csb

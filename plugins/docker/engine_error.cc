// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/engine_error.h"

#include <cerrno>
#include <string>
#include <system_error>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/printable.h"

namespace csb::docker {
namespace {

constexpr size_t kMaxWords = 512;

constexpr const char* kStartHint =
    "start it: sudo systemctl start docker; where it listens elsewhere, set docker.host (DOCKER_HOST)";
constexpr const char* kRemoteHint =
    "check docker.host (DOCKER_HOST), and that the daemon runs there and listens on that port";
constexpr const char* kGroupHint = "sudo usermod -aG docker $USER, then newgrp docker";
constexpr const char* kTlsHint =
    "check ca.pem, cert.pem and key.pem in docker.cert_path (DOCKER_CERT_PATH); the daemon's certificate "
    "must be "
    "signed by that CA and name the host of docker.host (DOCKER_HOST)";
constexpr const char* kNoTlsHint =
    "the daemon does not speak TLS there: unset docker.tls_verify (DOCKER_TLS_VERIFY), or use its TLS port "
    "(2376)";
constexpr const char* kDiskHint = "free space on the daemon's disk: docker system df shows what takes it";

bool Has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
bool Says(std::string_view text, int error) {
  return Has(text, ": " + std::generic_category().message(error));
}

std::string Words(const HttpResponse& answer) {
  std::string words;
  if (auto doc = json::ParseObject(answer.body); doc && !answer.body.empty())
    words = Printable(json::GetString(*doc, "message").value_or(""), kMaxWords);
  if (words.empty()) words = Printable(answer.body, kMaxWords);
  return words.empty() ? "HTTP status " + std::to_string(answer.status) : words;
}

}  // namespace

Error TransportError(const HttpEndpoint& endpoint, const Error& error) {
  const bool local = !endpoint.unix_socket.empty();
  const std::string_view text = error.message;
  const std::string detail = " (" + error.message + ")";
  if (error.code == CSB_E_DEADLINE) {
    // "GET /x: no answer within 5 s", "GET /x: nothing came for 60 s"
    const size_t within = text.rfind(" within ");
    const std::string limit(within == std::string_view::npos ? "" : text.substr(within));
    if (limit.empty()) return {CSB_E_UNAVAILABLE, "the Docker daemon fell silent" + detail, "", true};
    return {
        CSB_E_UNAVAILABLE,
        "the Docker daemon did not answer" + limit + " (" + std::string(text.substr(0, text.find(':'))) + ")",
        local ? "is it hung? sudo systemctl status docker, journalctl -u docker" : kRemoteHint, true};
  }
  if (error.code == CSB_E_TOO_LARGE)
    return {CSB_E_UNAVAILABLE, "what the Docker daemon answers is too large" + detail, "", false};
  if (error.code != CSB_E_UNAVAILABLE) return error;
  if (local && (Says(text, EACCES) || Says(text, EPERM)))
    return {CSB_E_UNAVAILABLE,
            "Permission denied: the Docker socket " + endpoint.unix_socket + " may not be used" + detail,
            kGroupHint, false};
  if (Has(text, "TLS: "))
    return {CSB_E_UNAVAILABLE, "no TLS connection to the Docker daemon" + detail,
            Has(text, "wrong version number") ? kNoTlsHint : kTlsHint, false};
  if (Has(text, "does not speak HTTP"))
    return {CSB_E_UNAVAILABLE,
            "no Docker daemon answers at " + (local ? endpoint.unix_socket : endpoint.url) + detail,
            "check docker.host (DOCKER_HOST)", false};
  if (Has(text, ": connect ") || Has(text, "resolve host") || Has(text, "Failed to connect") ||
      Has(text, "onnection timed out"))
    return {CSB_E_UNAVAILABLE, "Docker daemon not running" + (local ? "" : " at " + endpoint.url) + detail,
            local ? kStartHint : kRemoteHint, true};
  // One that refuses our certificate may hang up before its word for that arrives.
  const bool tls = endpoint.url.starts_with("https:");
  return {CSB_E_UNAVAILABLE, "the Docker daemon broke off" + detail, tls ? kTlsHint : "", true};
}

Error EngineError(std::string_view what, const HttpResponse& answer) {
  const std::string words = Words(answer);
  // Never the client's fault: what it chooses was checked before.
  Error error{CSB_E_UNAVAILABLE, "cannot " + std::string(what) + ": " + words, "", false};
  if (Has(words, "no space left on device")) {
    error.code = CSB_E_NO_CAPACITY;
    error.hint = kDiskHint;
  } else if (Has(words, "HTTP request to an HTTPS server")) {
    error.code = CSB_E_UNAVAILABLE;
    error.hint =
        "the daemon wants TLS: set docker.tls_verify (DOCKER_TLS_VERIFY=1) and docker.cert_path "
        "(DOCKER_CERT_PATH)";
  } else if (answer.status == 404) {
    error.code = CSB_E_NOT_FOUND;
  } else if (answer.status == 409) {
    error.code = CSB_E_CONFLICT;
  } else if (answer.status >= 500 || answer.status == 429) {
    error.retryable = true;
  }
  return error;
}

}  // namespace csb::docker

// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/engine_error.h"

#include <cerrno>
#include <string>
#include <system_error>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/printable.h"

namespace csb::incus {
namespace {

constexpr size_t kMaxWords = 512;

constexpr const char* kStartHint =
    "start it: sudo systemctl start incus; install it: sudo apt install incus (Debian 12: from "
    "bookworm-backports), sudo incus admin init --minimal";
constexpr const char* kRemoteHint =
    "check incus.remote (INCUS_REMOTE), and that incusd runs there and listens: incus config get "
    "core.https_address";
constexpr const char* kGroupHint = "sudo usermod -aG incus-admin $USER, then newgrp incus-admin";
constexpr const char* kTrustHint =
    "on the server: incus config trust add clara-sandbox, then here: clara-sandbox incus trust TOKEN";
constexpr const char* kImageHint =
    "incus image list tells the type of each: choose one of the type that is wanted, in incus.image "
    "(INCUS_SANDBOX_IMAGE), or the other incus.type (INCUS_SANDBOX_TYPE)";
constexpr const char* kVmHint =
    "the server needs KVM (/dev/kvm), qemu and vhost_vsock: sudo modprobe vhost_vsock, sudo systemctl "
    "restart "
    "incus; incus info shows it as driver qemu. Containers need neither: INCUS_SANDBOX_TYPE=container";
constexpr const char* kMemberHint =
    "incus cluster list shows which member does not answer; it is used again once it is back";

bool Has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
template <typename... Part>
bool HasAny(std::string_view text, Part... parts) {
  return (Has(text, parts) || ...);
}
bool Says(std::string_view text, int error) {
  return Has(text, ": " + std::generic_category().message(error));
}

// ".../storage-pools/default/custom/…" or the `pool "default"` of a message: what the engine was working in.
// "" unless it is a plain name: it goes into a command that people copy.
std::string PoolIn(std::string_view words) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  for (const std::string_view before : {std::string_view("storage-pools/"), std::string_view("pool \"")}) {
    const size_t at = words.find(before);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = words.substr(at + before.size());
    const std::string_view name = rest.substr(0, rest.find_first_of("/ \":"));
    if (name.empty() || name.size() > 63 || name[0] == '-') continue;
    if (name.find_first_not_of(kPlain) == std::string_view::npos) return std::string(name);
  }
  return "";
}

// A server that was not asked, but stands behind the one that was. Servers of images are none.
bool IsMemberDown(std::string_view words) {
  if (Has(words, "target cluster member")) return true;
  return !Has(words, "streams/v1") &&
         HasAny(words, "o route to host", "i/o timeout", "Unable to connect to",
                "connect: connection refused", "Client.Timeout exceeded", "etwork is unreachable");
}

}  // namespace

bool IsShutdown(int code, std::string_view words) {
  return code == 503 && HasAny(words, "Shutting down", "shutting down");
}

Error TransportError(const HttpEndpoint& endpoint, const Error& error) {
  const bool local = !endpoint.unix_socket.empty();
  const std::string& where = local ? endpoint.unix_socket : endpoint.url;
  const std::string_view text = error.message;
  const std::string detail = " (" + error.message + ")";
  if (error.code == CSB_E_DEADLINE) {
    // "GET /x: no answer within 5 s", "GET /x: nothing came for 60 s"
    const size_t within = text.rfind(" within ");
    const std::string limit(within == std::string_view::npos ? "" : text.substr(within));
    if (limit.empty()) return {CSB_E_UNAVAILABLE, "the Incus daemon fell silent" + detail, "", true};
    return {
        CSB_E_UNAVAILABLE,
        "the Incus daemon did not answer" + limit + " (" + std::string(text.substr(0, text.find(':'))) + ")",
        local ? "is it hung? sudo systemctl status incus, journalctl -u incus" : kRemoteHint, true};
  }
  if (error.code == CSB_E_TOO_LARGE)
    return {CSB_E_UNAVAILABLE, "what the Incus daemon answers is too large" + detail, "", false};
  if (error.code != CSB_E_UNAVAILABLE) return error;
  if (local && (Says(text, EACCES) || Says(text, EPERM)))
    return {CSB_E_UNAVAILABLE, "Permission denied: the Incus socket " + where + " may not be used" + detail,
            kGroupHint, false};
  if (Has(text, "TLS: ")) {
    if (Has(text, "alert"))
      return {CSB_E_UNAVAILABLE, "the Incus server " + where + " refuses our certificate" + detail,
              kTrustHint, false};
    if (Has(text, "wrong version number"))
      return {CSB_E_UNAVAILABLE, "no Incus server answers at " + where + detail, kRemoteHint, false};
    return {
        CSB_E_UNAVAILABLE, "the certificate of " + where + " is not the one that was pinned" + detail,
        "if the server was set up anew, trust it again with a new token: clara-sandbox incus trust TOKEN; if "
        "not, somebody stands between",
        false};
  }
  if (Has(text, "does not speak HTTP"))
    return {CSB_E_UNAVAILABLE, "no Incus daemon answers at " + where + detail,
            "check incus.remote (INCUS_REMOTE)", false};
  if (Has(text, ": connect ") || Has(text, "resolve host") || Has(text, "Failed to connect") ||
      Has(text, "onnection timed out"))
    return {CSB_E_UNAVAILABLE,
            local ? "Incus daemon not running (" + where + ")" + detail
                  : "Incus daemon not running at " + where + detail,
            local ? kStartHint : kRemoteHint, true};
  // One that refuses our certificate may hang up before its word for that arrives.
  const bool tls = endpoint.url.starts_with("https:");
  return {CSB_E_UNAVAILABLE, "the Incus daemon broke off" + detail, tls ? kTrustHint : "", true};
}

Error EngineError(std::string_view what, int code, std::string_view raw) {
  std::string words = Printable(raw, kMaxWords);
  if (words.empty()) words = "status " + std::to_string(code);
  // Never the client's fault: what it chooses was checked before.
  Error error{CSB_E_UNAVAILABLE, "cannot " + std::string(what) + ": " + words, "", false};
  if (HasAny(words, "no space left on device", "No space left on device", "disk quota exceeded",
             "Disk quota exceeded", "not enough space", "out of space")) {
    const std::string pool = PoolIn(words).empty() ? PoolIn(what) : PoolIn(words);
    error.code = CSB_E_NO_CAPACITY;
    error.hint = pool.empty() ? "a storage pool is full: incus storage list, then incus storage info POOL"
                              : "the storage pool " + pool + " is full: incus storage info " + pool +
                                    " shows it; delete what is not needed, or make it larger";
  } else if (Has(words, "Requested image's type")) {
    error.code = CSB_E_UNSUPPORTED;
    error.hint = kImageHint;
  } else if (Has(words, "Instance type \"virtual-machine\" is not supported")) {
    error.code = CSB_E_UNSUPPORTED;
    error.hint = kVmHint;
  } else if (code == 412 || code == 409 ||
             HasAny(words, "already exists", "already in use", "still in use", "UNIQUE constraint",
                    "Instance is busy", "Instance is running", "non-reusable operation", "busy running")) {
    error.code = CSB_E_CONFLICT;
    // Another operation on it is under way, or its end is not known to the engine yet.
    error.retryable =
        HasAny(words, "Instance is busy", "Instance is running", "non-reusable operation", "busy running");
  } else if (code == 404 || HasAny(words, "Image not provided for instance creation", "Instance not found")) {
    error.code = CSB_E_NOT_FOUND;
    if (Has(words, "Image not provided")) error.hint = "incus image list shows the images of the server";
  } else if (Has(words, "member is evacuated")) {
    error.retryable = true;
    error.hint = "incus cluster list shows it; its sandboxes are made on other members from now on";
  } else if (code == 401 || code == 403) {
    error.code = CSB_E_FORBIDDEN;
    error.hint = kTrustHint;
  } else if (IsMemberDown(words)) {
    error.retryable = true;
    if (!Has(words, "member")) error.message = "cannot " + std::string(what) + ": a member is down: " + words;
    error.hint = kMemberHint;
  } else if (code >= 500 || code == 429) {
    error.retryable = true;
  }
  return error;
}

Error EngineError(std::string_view what, const HttpResponse& answer) {
  if (auto doc = json::ParseObject(answer.body)) {
    const auto words = json::GetString(*doc, "error");
    const int64_t code = json::GetInt(*doc, "error_code").value_or(0);
    if (words && !words->empty())
      return EngineError(what, code > 0 && code < 1000 ? static_cast<int>(code) : answer.status, *words);
  }
  return EngineError(what, answer.status, answer.body);
}

}  // namespace csb::incus

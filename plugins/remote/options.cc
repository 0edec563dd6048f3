// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/options.h"

#include <algorithm>

#include "clara_sandbox/cpp/plugin.h"
#include "plugins/common/http_handle.h"
#include "plugins/common/printable.h"

namespace csb::remote {
namespace {

constexpr csb_option kOptions[] = {
    Option({.key = "remote.url",
            .env = "SANDBOX_API_URL",
            .help = "Address of another sandbox service, like https://sandbox.example; unset: remote is not "
                    "used. Several, comma separated: the hosts of one service; a user stays at one."}),
    Option({.key = "remote.api_key",
            .type = CSB_OPTION_SECRET,
            .env = "SANDBOX_API_KEY",
            .help = "Key to send to that service. Sent to remote.url only, never to where it redirects."}),
    Option({.key = "remote.request_timeout",
            .type = CSB_OPTION_SECONDS,
            .env = "SANDBOX_TIMEOUT",
            .default_value = "60",
            .help = "Longest wait for an answer, or between two pieces of a streamed one; seconds. Never "
                    "shorter than what the operation itself may take.",
            .min = 0.1,
            .max = 86400}),
    Option({.key = "remote.connect_timeout",
            .type = CSB_OPTION_SECONDS,
            .default_value = "5",
            .help = "Longest wait for a connection; seconds.",
            .min = 0.01,
            .max = 300}),
    Option({.key = "remote.ca",
            .type = CSB_OPTION_PATH,
            .help = "PEM file with the authorities that may sign the service's certificate, instead of the "
                    "system's."}),
    Option({.key = "remote.pinned_key",
            .help = "Public key that the service must have, as sha256//BASE64 (curl's --pinnedpubkey); "
                    "several, separated by ;."}),
    Option({.key = "remote.retries",
            .type = CSB_OPTION_INT,
            .default_value = "2",
            .help = "Further attempts after a connection failed, where nothing can run twice.",
            .min = 0,
            .max = 10}),
    Option({.key = "remote.shared",
            .type = CSB_OPTION_BOOL,
            .default_value = "false",
            .help = "The addresses share one engine, so that any may serve any user: when a user's is down, "
                    "the next one is used. Otherwise only one that says it has that user's sandbox."}),
};

Error Wrong(std::string message, std::string hint = "") {
  return {CSB_E_INVALID, std::move(message), std::move(hint), false};
}

std::chrono::milliseconds Milliseconds(const HostRef& host, const char* key, double fallback) {
  return std::chrono::milliseconds(static_cast<int64_t>(host.Number(key, fallback) * 1000));
}

bool IsLoopback(std::string_view url) {
  std::string_view host = url.substr(url.find("://") + 3);
  if (!host.empty() && host[0] == '[') return host.starts_with("[::1]");
  host = host.substr(0, host.find(':'));
  // A name may begin with 127. too.
  return host == "localhost" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos);
}

bool IsPin(std::string_view pins) {
  while (!pins.empty()) {
    const std::string_view pin = pins.substr(0, pins.find(';'));
    pins.remove_prefix(std::min(pins.size(), pin.size() + 1));
    if (!pin.starts_with("sha256//") || pin.size() != 8 + 44 || !pin.ends_with('=')) return false;
  }
  return true;
}

}  // namespace

std::span<const csb_option> DeclaredOptions() { return kOptions; }

Result<Address> ParseAddress(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos)
    return Wrong("remote.url: " + Printable(url, 200) + " has no scheme",
                 "write https://HOST or http://HOST");
  const size_t authority = scheme + 3;
  const size_t path = std::min(url.find('/', authority), url.size());
  if (url.substr(authority, path - authority).find('@') != std::string_view::npos)
    return Wrong("remote.url: a name or password stands in it", "the key belongs into remote.api_key");
  Address address;
  std::string_view base = url.substr(path);
  while (base.ends_with('/')) base.remove_suffix(1);
  const auto plain = [](unsigned char c) { return c > 0x20 && c < 0x7F && c != '?' && c != '#'; };
  if (!std::all_of(base.begin(), base.end(), plain))
    return Wrong("remote.url: not the path of an address: " + Printable(base, 200),
                 "give the address up to what comes before /sandbox");
  address.base = base;
  address.endpoint.url = url.substr(0, path);
  address.endpoint.proxy_from_environment = true;
  address.endpoint.http2 = true;
  if (Status s = CheckEndpoint(address.endpoint); !s) return Wrong("remote.url: " + s.error().message);
  address.text = address.endpoint.url + address.base;
  return address;
}

Result<Options> ReadOptions(const HostRef& host) {
  Options out;
  const std::string urls(host.Config("remote.url").value_or(""));
  const std::string ca(host.Config("remote.ca").value_or(""));
  const std::string pin(host.Config("remote.pinned_key").value_or(""));
  if (!IsPin(pin))
    return Wrong(
        "remote.pinned_key: not a list of sha256//BASE64",
        "openssl x509 -in CERT -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 "
        "-binary | base64");
  out.key = host.Config("remote.api_key").value_or("");
  if (std::any_of(out.key.begin(), out.key.end(), [](unsigned char c) { return c <= 0x20 || c >= 0x7F; }))
    return Wrong("remote.api_key: has a blank or a character that no header can carry");
  out.request_timeout = Milliseconds(host, "remote.request_timeout", 60);
  out.retries = static_cast<int>(host.Int("remote.retries", 2));
  out.shared = host.Bool("remote.shared", false);
  for (size_t begin = 0; begin < urls.size();) {
    const size_t end = std::min(urls.find_first_of(", ", begin), urls.size());
    const std::string_view url = std::string_view(urls).substr(begin, end - begin);
    begin = end + 1;
    if (url.empty()) continue;
    auto address = ParseAddress(url);
    if (!address) return address.error();
    const auto same = [&](const Address& other) { return other.text == address->text; };
    if (std::any_of(out.addresses.begin(), out.addresses.end(), same))
      return Wrong("remote.url: " + address->text + " stands there twice");
    address->endpoint.ca = ca;
    address->endpoint.pinned_key = pin;
    address->endpoint.connect_timeout = Milliseconds(host, "remote.connect_timeout", 5);
    out.in_clear = out.in_clear ||
                   (!out.key.empty() && address->text.starts_with("http:") && !IsLoopback(address->text));
    out.addresses.push_back(*std::move(address));
  }
  return out;
}

}  // namespace csb::remote

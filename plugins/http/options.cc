// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/options.h"

#include <sstream>

#include "clara_sandbox/cpp/plugin.h"

namespace csb::http {
namespace {

constexpr csb_option kOptions[] = {
    Option(
        {.key = "http.host",
         .env = "SANDBOX_API_HOST",
         .help =
             "Address to listen on; unset: 0.0.0.0 with a key, 127.0.0.1 without; beyond loopback a key is "
             "needed."}),
    Option({.key = "http.port",
            .type = CSB_OPTION_INT,
            .env = "SANDBOX_API_PORT",
            .default_value = "8080",
            .help = "TCP port to listen on; 0 takes a free one and logs it.",
            .min = 0,
            .max = 65535}),
    Option({.key = "http.listen_fds",
            .help = "Descriptors of open listening sockets, TCP or Unix, to serve instead of http.host and "
                    "http.port; "
                    "socket activation (LISTEN_FDS) fills it. Unset: none."}),
    Option({.key = "http.api_key",
            .type = CSB_OPTION_SECRET,
            .env = "SANDBOX_API_KEY",
            .help = "Key that requests must send as X-API-Key or Authorization: Bearer."}),
    Option({.key = "http.keys_file",
            .type = CSB_OPTION_PATH,
            .help =
                "File of named keys, a line each: name:key or name:key:user,user; mode 0600; read again on "
                "SIGHUP."}),
    Option(
        {.key = "http.tls_cert",
         .type = CSB_OPTION_PATH,
         .help = "PEM file with the certificate and its chain; needs http.tls_key; read again on SIGHUP."}),
    Option({.key = "http.tls_key",
            .type = CSB_OPTION_PATH,
            .help = "PEM file with the certificate's private key, not encrypted."}),
    Option({.key = "http.rate_limit",
            .type = CSB_OPTION_INT,
            .env = "SANDBOX_RATE_LIMIT",
            .default_value = "100",
            .help = "Requests per minute and user; 0 is off.",
            .min = 0,
            .max = 1e9}),
    Option({.key = "http.max_body",
            .type = CSB_OPTION_SIZE,
            .env = "SANDBOX_MAX_BODY",
            .default_value = "32MiB",
            .help = "Largest JSON body, and largest file in a JSON answer, bytes.",
            .min = 1024,
            .max = 1ull << 30}),
    Option({.key = "http.max_upload",
            .type = CSB_OPTION_SIZE,
            .env = "SANDBOX_MAX_UPLOAD",
            .default_value = "1GiB",
            .help = "Largest raw file body, bytes.",
            .min = 1024,
            .max = 1ull << 50}),
    Option({.key = "http.max_output",
            .type = CSB_OPTION_SIZE,
            .default_value = "1MiB",
            .help =
                "Bytes of stdout, and of stderr, in a buffered answer: head and tail are kept, the middle is "
                "dropped and counted; streaming answers have no such bound.",
            .min = 1024,
            .max = 256 << 20}),
    Option({.key = "http.max_buffered",
            .type = CSB_OPTION_SIZE,
            .default_value = "256MiB",
            .help = "Memory that the JSON bodies of all requests under way may take, bytes; beyond it 503.",
            .min = 1 << 20,
            .max = 1ull << 40}),
    Option({.key = "http.max_connections",
            .type = CSB_OPTION_INT,
            .default_value = "1024",
            .help = "Most connections at one time; beyond it 503.",
            .min = 1,
            .max = 1e6}),
    Option({.key = "http.max_connections_per_address",
            .type = CSB_OPTION_INT,
            .default_value = "512",
            .help = "Most connections at one time from one client address; a proxy in front counts as one.",
            .min = 1,
            .max = 1e6}),
    Option({.key = "http.max_header",
            .type = CSB_OPTION_SIZE,
            .default_value = "16KiB",
            .help = "Largest request line and header together, bytes.",
            .min = 1024,
            .max = 1 << 20}),
    Option({.key = "http.max_header_fields",
            .type = CSB_OPTION_INT,
            .default_value = "100",
            .help = "Most header fields of a request.",
            .min = 8,
            .max = 10000}),
    Option({.key = "http.header_timeout",
            .type = CSB_OPTION_SECONDS,
            .default_value = "10",
            .help = "Time for a request's header, and for the TLS handshake, seconds.",
            .min = 0.1,
            .max = 3600}),
    Option({.key = "http.body_timeout",
            .type = CSB_OPTION_SECONDS,
            .default_value = "30",
            .help = "How far a request's body may fall behind http.min_rate, seconds.",
            .min = 0.1,
            .max = 3600}),
    Option({.key = "http.write_timeout",
            .type = CSB_OPTION_SECONDS,
            .default_value = "30",
            .help = "How far a client may fall behind http.min_rate in reading its answer, seconds.",
            .min = 0.1,
            .max = 3600}),
    Option({.key = "http.min_rate",
            .type = CSB_OPTION_INT,
            .default_value = "1024",
            .help = "Slowest transfer of a body that is waited for, bytes a second.",
            .min = 1,
            .max = 1e9}),
    Option({.key = "http.idle_timeout",
            .type = CSB_OPTION_SECONDS,
            .default_value = "75",
            .help = "How long a connection is kept without a request, seconds.",
            .min = 0.1,
            .max = 86400}),
    Option({.key = "http.heartbeat",
            .type = CSB_OPTION_SECONDS,
            .default_value = "15",
            .help = "How long a streaming answer may be silent before a heartbeat is sent, seconds.",
            .min = 0.1,
            .max = 3600}),
    Option({.key = "http.threads",
            .type = CSB_OPTION_INT,
            .default_value = "2",
            .help = "Threads that serve connections.",
            .min = 1,
            .max = 256}),
    Option({.key = "http.allowed_hosts",
            .help = "Host names, space separated, that requests may name when there is no key; loopback "
                    "names always "
                    "may."}),
    Option(
        {.key = "http.allowed_origins",
         .help = "Web origins, space separated (https://app.example.com), whose pages may send requests."}),
    Option({.key = "http.mcp_user",
            .env = "SANDBOX_USER",
            .default_value = "default",
            .help = "Whose sandbox the tools at /mcp use when a call names no user_id, and the key is not "
                    "bound to one user."}),
    Option({.key = "http.access_log",
            .type = CSB_OPTION_BOOL,
            .default_value = "no",
            .help = "Log a line for each request: route, status, milliseconds."}),
};

std::vector<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

}  // namespace

std::span<const csb_option> Options() { return kOptions; }

Settings Settings::From(HostRef host) {
  const auto size = [&](const char* key, auto fallback) {
    return static_cast<decltype(fallback)>(host.Int(key, static_cast<int64_t>(fallback)));
  };
  Settings s;
  s.host = host.Text("http.host");
  s.port = static_cast<uint16_t>(host.Int("http.port", s.port));
  s.listen_fds = Words(host.Text("http.listen_fds"));
  s.api_key = host.Text("http.api_key");
  s.keys_file = host.Text("http.keys_file");
  s.tls_cert = host.Text("http.tls_cert");
  s.tls_key = host.Text("http.tls_key");
  s.rate_limit = host.Int("http.rate_limit", s.rate_limit);
  s.threads = size("http.threads", s.threads);
  s.max_connections = size("http.max_connections", s.max_connections);
  s.max_connections_per_address = size("http.max_connections_per_address", s.max_connections_per_address);
  s.max_header = size("http.max_header", s.max_header);
  s.max_header_fields = size("http.max_header_fields", s.max_header_fields);
  s.max_body = size("http.max_body", s.max_body);
  s.max_upload = size("http.max_upload", s.max_upload);
  s.max_output = size("http.max_output", s.max_output);
  s.max_buffered = size("http.max_buffered", s.max_buffered);
  s.header_timeout = host.Number("http.header_timeout", s.header_timeout);
  s.body_timeout = host.Number("http.body_timeout", s.body_timeout);
  s.write_timeout = host.Number("http.write_timeout", s.write_timeout);
  s.idle_timeout = host.Number("http.idle_timeout", s.idle_timeout);
  s.min_rate = size("http.min_rate", s.min_rate);
  s.heartbeat = host.Number("http.heartbeat", s.heartbeat);
  s.allowed_hosts = Words(host.Text("http.allowed_hosts"));
  s.allowed_origins = Words(host.Text("http.allowed_origins"));
  s.mcp_user = host.Text("http.mcp_user", s.mcp_user);
  s.access_log = host.Bool("http.access_log", s.access_log);
  return s;
}

}  // namespace csb::http

// SPDX-License-Identifier: Apache-2.0
//
// options.h: every setting of the HTTP frontend: the table the host reads, and the values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/plugin.h"

namespace csb::http {

std::span<const csb_option> Options();

struct Settings {
  std::string host;  // empty: chosen by whether there is a key
  uint16_t port = 8080;
  std::vector<std::string> listen_fds;  // instead of both
  std::string api_key;
  std::string keys_file;
  std::string tls_cert, tls_key;
  int64_t rate_limit = 100;  // requests a minute and user; 0: none
  int threads = 2;
  size_t max_connections = 1024;
  size_t max_connections_per_address = 512;
  size_t max_header = 16 << 10;
  size_t max_header_fields = 100;
  uint64_t max_body = 32 << 20;
  uint64_t max_upload = 1ull << 30;
  uint64_t max_output = 1 << 20;      // of each stream in a buffered answer
  uint64_t max_buffered = 256 << 20;  // all bodies and answers held in memory at one time
  double header_timeout = 10, body_timeout = 30, write_timeout = 30, idle_timeout = 75;
  uint64_t min_rate = 1024;  // bytes a second
  double heartbeat = 15;
  std::vector<std::string> allowed_hosts, allowed_origins;
  std::string mcp_user = "default";
  bool access_log = false;

  static Settings From(HostRef host);
};

}  // namespace csb::http

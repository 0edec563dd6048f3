// SPDX-License-Identifier: Apache-2.0
//
// address.h: where an Incus server listens: a host and a port.
//
//   auto address = ParseAddress("[fd42::1]:8443");
//   address->Url();       // "https://[fd42::1]:8443"
//   address->FileName();  // "fd42--1_8443"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::incus {

struct Address {
  std::string host;  // a name or an IP address; IPv6 without brackets
  uint16_t port = 8443;

  std::string Url() const;       // "https://HOST:PORT"
  std::string FileName() const;  // "HOST_PORT", of letters that a file's name may have anywhere
  bool operator==(const Address&) const = default;
};

// HOST, HOST:PORT, [IPv6], [IPv6]:PORT, with or without https:// before and / behind.
// CSB_E_INVALID: anything else; the text is not vouched for.
Result<Address> ParseAddress(std::string_view text);

}  // namespace csb::incus

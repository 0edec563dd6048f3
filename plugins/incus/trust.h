// SPDX-License-Identifier: Apache-2.0
//
// trust.h: how an Incus server and we come to trust each other: its administrator makes a token (`incus
// config trust add NAME`), which holds the fingerprint of the server's certificate, its addresses, and a
// secret that works once.
//
//   auto trusted = TrustServer(token, state + "/incus", [](const std::string& line) { … });
//   if (!trusted) return trusted.error();
//   Print("incus.remote = " + trusted->address.Url());
//
// The secret is sent to nobody but a server whose certificate has that fingerprint. It is pinned then
// (certificate.h: PinOf), so that later connections believe this server and no other.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/incus/address.h"

namespace csb::incus {

struct TrustToken {
  std::string client_name;         // what the server will list us as
  std::string fingerprint;         // of the server's certificate, 64 lower-case hexadecimal digits
  std::vector<Address> addresses;  // at least one
  std::string expires_at;          // RFC 3339; "": never
  std::string text;                // as it was given, without spaces around: what the server wants
};

// CSB_E_INVALID: what is wrong with it; never any of its text, which is a secret.
Result<TrustToken> ParseToken(std::string_view text);

struct Trusted {
  Address address;
  std::string server;                 // its name; may be empty
  std::string version;                // "6.0.4"
  std::string fingerprint;            // of its certificate
  std::vector<std::string> projects;  // that we may use; empty: not known
  bool already = false;               // it trusted us before; the token was not used up
};

// Blocks. folder: of our state. tell: a line for the user about an address that did not do.
// CSB_E_UNAVAILABLE: no address answers; CSB_E_FORBIDDEN: another server does, or the server does not take
// the token. Nothing is pinned then.
Result<Trusted> TrustServer(const TrustToken& token, const std::string& folder,
                            const std::function<void(const std::string&)>& tell);

}  // namespace csb::incus

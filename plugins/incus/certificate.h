// SPDX-License-Identifier: Apache-2.0
//
// certificate.h: who we are to an Incus server, and how it is known again: X.509 certificates that vouch for
// themselves, told apart by the SHA-256 of their DER form, as `incus config trust list` shows it.
//
//   auto mine = OwnIdentity(state + "/incus");                       // made when it is not there
//   auto theirs = FetchServerCertificate(*address, 5s);              // of whoever answers: believe nothing
//   yet if (*FingerprintOf(*theirs) != token.fingerprint) return …;
//
// Every function blocks. Errors name the file or the server.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/incus/address.h"

namespace csb::incus {

// Paths of PEM files.
struct Identity {
  std::string certificate, key;
};

// FOLDER/client.crt and client.key, for HttpEndpoint. Made if there are none: ECDSA on P-384, ten years,
// 0600. Processes that ask at once get the same pair, also after one was killed. CSB_E_INVALID: what is there
// is broken; it is left alone.
Result<Identity> OwnIdentity(const std::string& folder);
// The same, but CSB_E_NOT_FOUND if there is none yet.
Result<Identity> FindIdentity(const std::string& folder);

// SHA-256 of the certificate, 64 lower-case hexadecimal digits; PEM (the first one in it) or DER.
Result<std::string> FingerprintOf(std::string_view certificate);

// The certificate of whoever answers, PEM. Nothing about it is checked. CSB_E_UNAVAILABLE: nobody does, in
// TLS, within the time.
Result<std::string> FetchServerCertificate(const Address& address, std::chrono::milliseconds timeout);

// Where the certificate of a server that we trust stands: FOLDER/servers/HOST_PORT.crt.
std::string PinOf(const std::string& folder, const Address& address);

}  // namespace csb::incus

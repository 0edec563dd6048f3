// SPDX-License-Identifier: Apache-2.0
//
// What somebody may hand over as the token of an Incus server, an address, or a certificate: as it is, and as
// the base64 of it, which a fuzzer would not find by itself.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugins/common/base64.h"
#include "plugins/incus/certificate.h"
#include "plugins/incus/trust.h"

namespace {

using namespace csb;         // NOLINT: a test program
using namespace csb::incus;  // NOLINT

void Check(bool holds) {
  if (!holds) std::abort();
}

void Token(std::string_view text) {
  auto token = ParseToken(text);
  if (!token) {
    Check(token.error().code == CSB_E_INVALID && !token.error().message.empty());
    return;
  }
  Check(token->fingerprint.size() == 64 && !token->addresses.empty() && token->addresses.size() <= 64);
  Check(token->text.find_first_of(" \n\r\t") == std::string::npos);
  for (const Address& address : token->addresses) {
    // What was read can be written and read again, and is a file's name.
    const auto again = ParseAddress(address.Url());
    Check(again && *again == address);
    Check(address.FileName().find('/') == std::string::npos && address.FileName().front() != '.');
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Token(text);
  Token(base64::Encode(text));
  if (auto address = ParseAddress(text)) Check(ParseAddress(address->Url()) && address->port != 0);
  if (auto print = FingerprintOf(text)) Check(print->size() == 64);
  return 0;
}

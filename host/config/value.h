// SPDX-License-Identifier: Apache-2.0
//
// value.h: reads a value as a user writes it, checks it, and gives it the one spelling that plugins see.
//
//   Normalise({.type = CSB_OPTION_SIZE}, "512MiB");  // "536870912"
//   Normalise({.type = CSB_OPTION_SECONDS}, "15m");  // "900"
//   Normalise({.type = CSB_OPTION_BOOL}, "yes");     // "1"
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/plugin.h"

namespace csb::host {

inline constexpr size_t kMaxValue = 64 << 10;

// What an option may hold; a part of Option (schema.h).
struct ValueType {
  uint32_t type = CSB_OPTION_STRING;
  std::vector<std::string> choices;  // CSB_OPTION_CHOICE
  double min = 0, max = 0;           // INT, FLOAT, SIZE (bytes), SECONDS; both 0: no bound
};

// Surrounding blanks are not part of a value. The message of an error says what is wrong with the value and
// how to write it, but not where it stood; it never has the value of a secret.
// PATH: "~/x" is below $HOME as given in `home`; a relative path is relative to `folder`.
Result<std::string> Normalise(const ValueType& type, std::string_view text, std::string_view folder = "",
                              std::string_view home = "");

// "512m", "1.5GiB", "4096", "unlimited" (0). Units are powers of 1024, any case: b k m g t, kb…, kib….
Result<uint64_t> ParseSize(std::string_view text);

// "30", "1.5", "500ms", "15m", "1h", "2d": seconds, finite, not negative.
Result<double> ParseSeconds(std::string_view text);

// "512 MiB", "1.5 GiB", "unlimited".
std::string FormatSize(uint64_t bytes);

// The shortest decimal that reads back as the same number: "30", "0.5".
std::string FormatNumber(double value);

// Words separated by blanks or commas.
std::vector<std::string> SplitList(std::string_view text);

}  // namespace csb::host

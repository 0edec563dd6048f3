// SPDX-License-Identifier: Apache-2.0
//
// print.h: what commands print for people: errors with what to do next, aligned columns, colours on a
// terminal.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

enum class Colour { kPlain, kBold, kDim, kRed, kGreen, kYellow };

// `text` in a colour if `file` is a terminal and NO_COLOR is not set.
std::string Paint(std::string_view text, Colour colour, FILE* file = stdout);

// "clara-sandbox: MESSAGE", each line of the hint below it, on stderr.
void PrintError(const Error& error);

// Columns two blanks apart, each as wide as its widest cell; the last one is not padded.
void PrintTable(const std::vector<std::vector<std::string>>& rows);

// `text` broken at blanks to lines of at most `width` columns, each but the first behind `indent` blanks.
std::string Wrapped(std::string_view text, size_t indent, size_t width = 100);

// Flushes stdout; false, with a message, if what was printed could not be written (a full disk).
bool FinishOutput();

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
//
// suggest.h: the known word that somebody probably meant.
//
//   Nearest("http.prot", {"http.port", "http.host"});  // "http.port"
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace csb::host {

// The word of `known` with the fewest edits (insert, delete, replace, swap neighbours) from `word`; "" when
// none is near enough to be a guess worth printing (more than a third of its letters differ).
std::string Nearest(std::string_view word, const std::vector<std::string>& known);

// `text` for a message: quoted, control characters and ill-formed UTF-8 escaped, cut at 80 bytes.
std::string Quoted(std::string_view text);

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
//
// roff.h: text for manual pages, groff_man(7).
//
//   std::string page = roff::Head("CLARA-SANDBOX", 1) + roff::Section("NAME") + roff::Text("it's") + "\n";
#pragma once

#include <string>
#include <string_view>

namespace csb::host::roff {

// The title line: no date, so that a build can be repeated.
std::string Head(std::string_view title, int section);
std::string Section(std::string_view title);
// Printed as it stands: no word of it is a request, hyphens can be copied, other than ASCII by code point.
std::string Text(std::string_view text);
std::string Bold(std::string_view text);
// Lines as help texts have them: broken by hand, an empty one between paragraphs, indented ones to be kept.
std::string Paragraphs(std::string_view text);

}  // namespace csb::host::roff

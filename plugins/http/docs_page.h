// SPDX-License-Identifier: Apache-2.0
//
// docs_page.h: /docs, an OpenAPI document as one self-contained page that can also send requests.
#pragma once

#include <string>
#include <string_view>

namespace csb::http {

struct DocsPage {
  std::string html;
  // Content-Security-Policy that lets the page's own script and style run (by hash) and requests go
  // to where it came from; nothing else.
  std::string fields;
};

DocsPage MakeDocsPage(std::string_view openapi);

}  // namespace csb::http

// SPDX-License-Identifier: Apache-2.0
//
// revision.h: the revisions of MCP that are served, and in what they differ for a tools server
// (modelcontextprotocol.io/specification/…/changelog). Code asks for a feature, never for a date.
//
//   const Revision& r = NegotiateRevision("2025-06-18");   // unknown: the newest legacy one
//   if (r.structured_content) …
//
// A later era that has no initialize hangs in here: its requests name their revision in _meta
// (kMetaProtocolVersion) and are told apart in session.cc before anything else looks at them.
#pragma once

#include <array>
#include <string_view>

namespace csb::mcp {

struct Revision {
  std::string_view name;
  bool batches = false;             // JSON-RPC arrays
  bool annotations = false;         // of tools
  bool progress_message = false;    // "message" in notifications/progress
  bool structured_content = false;  // outputSchema, structuredContent
  bool titles = false;              // "title" beside "name"
};

// Oldest first. All of the era of initialize.
inline constexpr std::array kLegacyRevisions = {
    Revision{.name = "2024-11-05"},
    Revision{.name = "2025-03-26", .batches = true, .annotations = true, .progress_message = true},
    Revision{.name = "2025-06-18",
             .annotations = true,
             .progress_message = true,
             .structured_content = true,
             .titles = true},
    Revision{.name = "2025-11-25",
             .annotations = true,
             .progress_message = true,
             .structured_content = true,
             .titles = true},
};

inline constexpr const Revision& kNewestLegacy = kLegacyRevisions.back();

// What `initialize` answers: the version asked for when it is served, else the newest.
constexpr const Revision& NegotiateRevision(std::string_view asked) {
  for (const Revision& r : kLegacyRevisions)
    if (r.name == asked) return r;
  return kNewestLegacy;
}

// The member of a request's _meta that names the revision, in the era without initialize.
inline constexpr std::string_view kMetaProtocolVersion = "io.modelcontextprotocol/protocolVersion";

}  // namespace csb::mcp

// SPDX-License-Identifier: Apache-2.0
//
// revision.h: the revisions of MCP that are served, and in what they differ for a tools server
// (modelcontextprotocol.io/specification/…/changelog). Code asks for a feature, never for a date.
//
//   const Revision& r = NegotiateRevision("2025-06-18");   // unknown: the newest legacy one
//   if (r.structured_content) …
//
// The later era has no initialize: each of its requests names its revision in _meta
// (kMetaProtocolVersion), and session.cc tells it apart by that before anything else is looked at.
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
  bool stateless = false;           // no initialize; _meta in requests, resultType and cache hints in results
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

inline constexpr Revision kModern = {.name = "2026-07-28",
                                     .annotations = true,
                                     .progress_message = true,
                                     .structured_content = true,
                                     .titles = true,
                                     .stateless = true};

// Null for a name that is none of them.
constexpr const Revision* FindLegacy(std::string_view name) {
  for (const Revision& r : kLegacyRevisions)
    if (r.name == name) return &r;
  return nullptr;
}

// What `initialize` answers: the version asked for when it is served, else the newest.
constexpr const Revision& NegotiateRevision(std::string_view asked) {
  const Revision* found = FindLegacy(asked);
  return found != nullptr ? *found : kNewestLegacy;
}

// Members of _meta in the era without initialize.
inline constexpr std::string_view kMetaProtocolVersion = "io.modelcontextprotocol/protocolVersion";
inline constexpr std::string_view kMetaCapabilities = "io.modelcontextprotocol/clientCapabilities";
inline constexpr std::string_view kMetaLogLevel = "io.modelcontextprotocol/logLevel";
inline constexpr std::string_view kMetaServerInfo = "io.modelcontextprotocol/serverInfo";
inline constexpr std::string_view kMetaSubscription = "io.modelcontextprotocol/subscriptionId";

}  // namespace csb::mcp

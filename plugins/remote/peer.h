// SPDX-License-Identifier: Apache-2.0
//
// peer.h: what a service offers, read from its own description (/openapi.json). Services that have only the
// plain calls of the interface, or no description, are used with those.
//
//   Peer peer = ReadPeer(openapi);          // text of the document
//   if (peer.events) …                       // runs can be followed as they happen
//
// Everything here is hostile input until read: wrong types count as absent.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace csb::remote {

struct Peer {
  bool described = false;  // there was a document that could be read
  std::string title, version;
  // Of runs.
  bool events = false;  // answered as server-sent events
  bool exact = false;   // `encoding`, `stdin_encoding`: bytes that are no text arrive as they are
  bool input = false, arguments = false, folder = false, environment = false;  // stdin args cwd env
  bool bound = false;                                                          // output
  bool contexts = false;                                                       // context, results
  bool processes = false;  // programs in the background; keep, yield_after; their terminals
  bool exec = false;       // POST exec: an argument vector
  // Of files.
  bool raw_read = false, raw_write = false;  // application/octet-stream
  bool mode = false;                         // of a written file
  bool recursive = false;                    // delete
  bool stat = false;
  bool entries = false;  // a listing has them beside its text
  // Of the service.
  bool once = false;   // Idempotency-Key: a repeated request is not done twice
  bool purge = false;  // destroy can remove the files

  // "events, exact bytes, …" and what is done with plain calls or refused instead.
  std::vector<std::string> Offers() const;
  std::vector<std::string> Lacks() const;
};

Peer ReadPeer(std::string_view openapi);

}  // namespace csb::remote

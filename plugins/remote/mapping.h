// SPDX-License-Identifier: Apache-2.0
//
// mapping.h: each operation as a call of the REST interface (docs/rest.md), as far as the service offers it.
// No input, no output: what is read here is what the host has checked.
//
//   auto mapped = Map(request, peer, input);
//   if (!mapped) return mapped.error();       // CSB_E_UNSUPPORTED: what the service lacks, by name
//   mapped->http.target = base + mapped->http.target;
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/request.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"
#include "plugins/remote/peer.h"

namespace csb::remote {

inline constexpr size_t kMaxPlainFile = 16 << 20;  // as base64 in JSON, still under a usual limit of bodies
inline constexpr size_t kMaxInput = 16 << 20;      // of a run: stdin goes with the request

struct Mapped {
  HttpRequest http;       // method, target without the address's base, headers without the key, body
  bool harmless = false;  // doing it twice is no different from doing it once
  bool streamed = false;  // answered as server-sent events
};

bool IsRun(uint32_t op);
// One segment of a path: escaped, and never "." or "..", which mean something else to what stands in between.
std::string Segment(std::string_view text);
// "/sandbox/USER" + tail, the id escaped.
std::string UserTarget(std::string_view user, std::string_view tail);

// Everything but file_read and file_write. input: what came as standard input, nullopt without any. left:
// seconds until the request's deadline, 0 without one: what a run is given that has no `timeout` of its own.
Result<Mapped> Map(const Request& request, const Peer& peer, const std::optional<std::string>& input,
                   double left = 0);

// file_read: the head of the request; `part` says what was asked for.
struct Part {
  std::string path;
  int64_t offset = 0;              // negative: from the end
  std::optional<uint64_t> length;  // nullopt: the rest
};
Result<Part> PartOf(const Request& request);
Mapped MapRead(const Request& request, const Part& part, const Peer& peer);

// file_write: of bytes that are all there, and of those that come as a stream (raw_write only).
Result<Mapped> MapWrite(const Request& request, const Peer& peer, std::string_view bytes);
Result<Mapped> MapUpload(const Request& request, const Peer& peer);

// Programs in the background; of a service that has them. In process_mapping.cc.
bool IsProcess(uint32_t op);
std::string ProcessTarget(std::string_view user, std::string_view handle, std::string_view tail);
// Everything but process_attach and process_input.
Result<Mapped> MapProcess(const Request& request, const Peer& peer);
Mapped MapProcessInput(std::string_view user, std::string_view handle, std::string_view bytes, bool eof);
// Its output as it comes, from an offset until its end.
Mapped MapFollow(std::string_view user, std::string_view handle, int64_t offset);

}  // namespace csb::remote

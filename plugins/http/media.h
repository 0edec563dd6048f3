// SPDX-License-Identifier: Apache-2.0
//
// media.h: media types in Accept and Content-Type (RFC 9110 §8.3, §12.5.1), as far as we offer
// a choice.
#pragma once

#include <string_view>

namespace csb::http {

inline constexpr std::string_view kJson = "application/json";
inline constexpr std::string_view kBytes = "application/octet-stream";
inline constexpr std::string_view kEventStream = "text/event-stream";
inline constexpr std::string_view kNdjson = "application/x-ndjson";
inline constexpr std::string_view kHtml = "text/html; charset=utf-8";
inline constexpr std::string_view kPrometheus = "text/plain; version=0.0.4; charset=utf-8";

// The quality (0..1000) that an Accept field gives a type by its full name; -1 when it does not name
// it. Wildcards do not count: only who asks for a special form by name gets it.
int NamedQuality(std::string_view accept, std::string_view type);

// How an execution's or a file's answer is wanted.
enum class Form { kJson, kBytes, kEventStream, kNdjson };
Form FormOfExecution(std::string_view accept);  // kJson, kEventStream or kNdjson
Form FormOfFile(std::string_view accept);       // kJson or kBytes

// `application/json; charset=utf-8` and `application/problem+json` are; parameters are ignored.
bool IsJson(std::string_view content_type);
bool IsMultipart(std::string_view content_type);

}  // namespace csb::http

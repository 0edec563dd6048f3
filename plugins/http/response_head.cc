// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/response_head.h"

#include <charconv>
#include <ctime>

namespace csb::http {
namespace {

// Made once a second.
const std::string& DateField() {
  thread_local std::time_t second = -1;
  thread_local std::string field;
  const std::time_t now = std::time(nullptr);
  if (now != second) {
    second = now;
    field = "Date: " + HttpDate(now) + "\r\n";
  }
  return field;
}

void AppendNumber(std::string& out, uint64_t value, int base = 10) {
  char text[24];
  out.append(text, std::to_chars(text, text + sizeof text, value, base).ptr);
}

}  // namespace

std::string ResponseHead(const HeadOptions& o, const Reply& reply) {
  std::string out;
  out.reserve(384 + reply.fields.size() + o.more.size() +
              (reply.body.size() < 16 << 10 ? reply.body.size() : 0));
  out.append(o.http11 ? "HTTP/1.1 " : "HTTP/1.0 ");
  AppendNumber(out, static_cast<uint64_t>(reply.status));
  out.append(" ").append(ReasonPhrase(reply.status)).append("\r\n");
  out.append(DateField());
  if (!reply.content_type.empty()) out.append("Content-Type: ").append(reply.content_type).append("\r\n");
  if (o.chunked) {
    out.append("Transfer-Encoding: chunked\r\n");
  } else if (o.length) {
    out.append("Content-Length: ");
    AppendNumber(out, *o.length);
    out.append("\r\n");
  }
  if (o.close)
    out.append("Connection: close\r\n");
  else if (!o.http11)
    out.append("Connection: keep-alive\r\n");
  // Answers are one user's own, and a file's bytes must never be taken for a page.
  out.append("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
  if (!o.request_id.empty()) out.append("X-Request-Id: ").append(o.request_id).append("\r\n");
  out.append(reply.fields).append(o.more).append("\r\n");
  return out;
}

std::string ChunkHead(size_t size) {
  std::string out;
  AppendNumber(out, size, 16);
  return out += "\r\n";
}

}  // namespace csb::http

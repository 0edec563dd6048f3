// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/reply.h"

#include <cstdio>
#include <ctime>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"
#include "clara_sandbox/cpp/utf8.h"

namespace csb::http {
namespace {

// A sandbox may be freed or an engine be back in about this time.
constexpr int kRetrySeconds = 5;

std::string Document(std::string_view message, std::string_view hint, std::string_view code) {
  json::Buffer buffer;
  json::Writer w(buffer);
  const std::string clean = utf8::Clean(message);
  w.StartObject();
  json::Member(w, "error", std::string_view(clean));
  json::Member(w, "detail", std::string_view(hint.empty() ? clean : clean + ": " + utf8::Clean(hint)));
  if (!code.empty()) json::Member(w, "code", code);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 507:
      return "Insufficient Storage";
    default:
      return "Error";
  }
}

int StatusOf(csb_status code) {
  switch (code) {
    case CSB_E_BAD_REQUEST:
      return 400;
    case CSB_E_INVALID:
      return 422;
    case CSB_E_UNAUTHORIZED:
      return 401;
    case CSB_E_FORBIDDEN:
      return 403;
    case CSB_E_NOT_FOUND:
      return 404;
    case CSB_E_NO_SANDBOX:
      return 404;
    case CSB_E_CONFLICT:
      return 409;
    case CSB_E_TOO_LARGE:
      return 413;
    case CSB_E_RATE_LIMITED:
      return 429;
    case CSB_E_UNAVAILABLE:
      return 503;
    case CSB_E_NO_CAPACITY:
      return 503;
    case CSB_E_CANCELLED:
      return 503;  // not by the client, who is gone then: the service shuts down
    case CSB_E_DEADLINE:
      return 504;
    case CSB_E_NO_SPACE:
      return 507;
    case CSB_E_UNSUPPORTED:
      return 501;
    default:
      return 500;
  }
}

std::string ErrorDocument(const Error& error) {
  return Document(error.message.empty() ? NameOfStatus(error.code) : std::string_view(error.message),
                  error.hint, NameOfStatus(error.code));
}

Reply ErrorReply(const Error& error) {
  Reply reply{.status = StatusOf(error.code), .body = ErrorDocument(error), .code = error.code};
  if (reply.status == 503) reply.fields = "Retry-After: " + std::to_string(kRetrySeconds) + "\r\n";
  return reply;
}

Reply ErrorReply(int status, std::string_view message, std::string_view hint) {
  Reply reply{.status = status, .body = Document(message, hint, {})};
  if (status == 503) reply.fields = "Retry-After: " + std::to_string(kRetrySeconds) + "\r\n";
  return reply;
}

std::string HttpDate(int64_t unix_seconds) {
  // strftime would use the process's locale.
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t time = unix_seconds;
  std::tm tm{};
  gmtime_r(&time, &tm);
  char text[64];
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[tm.tm_wday], tm.tm_mday,
                kMonths[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
  return text;
}

int64_t UnixSeconds(std::string_view rfc3339) {
  std::tm tm{};
  char zulu = 0;
  const std::string text(rfc3339.substr(0, 40));
  int used = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                  &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6)
    return -1;
  zulu = text.empty() ? '\0' : text.back();
  if (zulu != 'Z' || used < 19) return -1;
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  return timegm(&tm);
}

}  // namespace csb::http

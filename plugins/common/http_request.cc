// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/http_request.h"

#include <algorithm>

#include "plugins/common/printable.h"

namespace csb {
namespace {

std::string Duration(std::chrono::milliseconds limit) {
  const auto ms = limit.count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

}  // namespace

Status CheckRequest(const HttpRequest& request) {
  const auto invalid = [](std::string message) {
    return Error{CSB_E_INVALID, std::move(message), "", false};
  };
  const auto token = [](char c) { return (c >= 'A' && c <= 'Z') || c == '-'; };
  if (request.method.empty() || !std::all_of(request.method.begin(), request.method.end(), token))
    return invalid("not an HTTP method: " + Printable(request.method, 40));
  const auto visible = [](unsigned char c) { return c > 0x20 && c < 0x7F && c != '#'; };
  if (request.target.empty() || request.target[0] != '/' ||
      !std::all_of(request.target.begin(), request.target.end(), visible))
    return invalid("not the path of a request: " + Printable(request.target, 200));
  for (const std::string& header : request.headers)
    if (header.find(':') == std::string::npos ||
        header.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
      return invalid("not a header: " + Printable(header, 200));
  return {};
}

std::string RequestName(const HttpRequest& request) {
  return Printable(request.method + " " + request.target.substr(0, request.target.find('?')), 200);
}

Error NoAnswer(const std::string& name, std::chrono::milliseconds limit) {
  return {CSB_E_DEADLINE, name + ": no answer within " + Duration(limit), "", true};
}

Error StreamStalled(const std::string& name, std::chrono::milliseconds limit) {
  return {CSB_E_DEADLINE, name + ": nothing came for " + Duration(limit), "", true};
}

}  // namespace csb

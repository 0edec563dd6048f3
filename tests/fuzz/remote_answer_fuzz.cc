// SPDX-License-Identifier: Apache-2.0
//
// remote_answer_fuzz.cc: what a service says of itself and what it answers. The first byte chooses the
// status; the rest goes to every reader. What they make of it has to be what the host may rely on.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugins/remote/answer.h"
#include "plugins/remote/listing.h"
#include "plugins/remote/peer.h"

namespace {

using namespace csb;          // NOLINT: a test program
using namespace csb::remote;  // NOLINT

const char kWhere[] = "http://peer";
const char kUser[] = "alice";

void Check(bool holds) {
  if (!holds) std::abort();
}

bool Plain(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return false;
  return true;
}

// Messages go to terminals and logs, and have to say something.
void CheckError(const Error& error) {
  Check(error.code != CSB_OK && error.code < 64);
  Check(!error.message.empty() && error.message.size() < 4096 && error.hint.size() < 4096);
  Check(Plain(error.message) && Plain(error.hint));
}

template <typename T>
bool Good(const Result<T>& result) {
  if (!result) CheckError(result.error());
  return static_cast<bool>(result);
}

void Description(std::string_view text) {
  const Peer peer = ReadPeer(text);
  Check(Plain(peer.title) && Plain(peer.version) && peer.title.size() < 512 && peer.version.size() < 512);
  const size_t abilities = peer.Offers().size() + peer.Lacks().size();
  Check(abilities == Peer().Lacks().size());
  Check(peer.described || peer.Offers().size() <= Peer().Offers().size());
}

void Answers(const HttpResponse& answer) {
  CheckError(ErrorOf(answer, kWhere));
  (void)NoSuchCall(answer);
  if (const auto info = InfoOf(answer, kWhere, kUser); Good(info)) {
    const auto read = json::ParseObject(*info);
    Check(read && json::GetString(*read, "user_id") == kUser);
    size_t owners = 0;
    for (const auto& member : read->GetObject())
      owners += std::string_view(member.name.GetString()) == "user_id";
    Check(owners == 1);
  }
  if (const auto object = ObjectOf(answer, kWhere); Good(object)) {
    if (const auto run = RunOf(*object, kWhere); Good(run)) {
      const auto read = json::ParseObject(run->result);
      Check(static_cast<bool>(read));
      const auto code = json::GetInt(*read, "exit_code");
      Check(code && *code >= 0 && *code <= 383);
      const std::string_view cause = json::GetString(*read, "cause").value_or("");
      Check(!cause.empty());
      Check(json::GetNumber(*read, "execution_time").value_or(-1) >= 0);
    }
  }
  bool success = false;
  (void)Good(DoneOf(answer, kWhere, &success));
  (void)Good(FileOf(answer, kWhere));
  if (const auto list = ListOf(answer, kWhere, "d"); Good(list)) {
    const auto read = json::ParseObject(*list);
    Check(read && json::Find(*read, "entries") != nullptr && json::Find(*read, "entries")->IsArray());
  }
  if (const auto entry = EntryOf(answer, kWhere, "d/name"); Good(entry))
    Check(bool(json::ParseObject(*entry)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  constexpr std::array kStatuses = {200, 204, 302, 400, 401, 403, 404, 405,
                                    409, 422, 429, 500, 502, 503, 504, 999};
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Description(text);
  for (const Entry& entry : ReadListing(text))
    Check(!entry.name.empty() && entry.name != "." && entry.name != "..");
  Answers({.status = kStatuses[data[0] % kStatuses.size()],
           .content_type = data[0] < 128 ? "application/json" : text.substr(0, 60),
           .etag = "",
           .body = text,
           .headers = {{"Location", text.substr(0, 300)}, {"Retry-After", text.substr(0, 50)}}});
  return 0;
}

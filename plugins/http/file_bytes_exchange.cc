// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/range.h"
#include "plugins/http/service_exchange.h"

namespace csb::http {
namespace {

// What may be under way between the sandbox and the client: all that a download holds in memory.
constexpr uint64_t kCredit = 1 << 20;
// Given back at once: each time it wakes a thread of the backend's, which may be waiting for it.
constexpr uint64_t kLump = kCredit / 2;
constexpr uint64_t kMaxOffset = (1ull << 53) - 1;  // the largest that the service takes

std::string Header(std::string_view name, std::string_view value) {
  return std::string(name) + ": " + std::string(value) + "\r\n";
}

// RFC 5987: the name's bytes, everything but plain characters escaped.
std::string Disposition(std::string_view path) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string name;
  for (const char c : path.substr(path.rfind('/') + 1)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_';
    if (plain)
      name += c;
    else
      (name += '%').append({kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 15]});
  }
  return "attachment; filename*=UTF-8''" + name;
}

// What a sandbox tells stands in a header only where it can be nothing but one value.
bool Plain(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.size() <= 40 && text.find_first_not_of(allowed) == std::string_view::npos;
}

bool Matches(std::string_view if_none_match, std::string_view tag) {
  return !if_none_match.empty() &&
         (if_none_match == "*" || if_none_match.find(tag) != std::string_view::npos);
}

// The raw bytes, or a part of them. META tells the size before any data, so the header is whole.
class FileBytes final : public ServiceExchange {
 public:
  using ServiceExchange::ServiceExchange;

  void OnBodyEnd() override {
    auto payload = BuildPayload(*in_.route, in_.target, "", {});
    if (!payload) return Fail(payload.error());
    // If-Range asks for a strong validator, which there is none of: the whole file is always right.
    // Of the methods only GET has ranges (RFC 9110 section 14.2).
    if (in_.if_range.empty() && !in_.head) range_ = ParseRange(in_.range);
    auto doc = json::ParseObject(payload->json);
    auto& allocator = doc->GetAllocator();
    doc->AddMember("timeout", app_.raw_timeout, allocator);
    if (range_ && range_->is_suffix) {
      doc->AddMember("offset", -static_cast<int64_t>(std::clamp<uint64_t>(range_->suffix, 1, kMaxOffset)),
                     allocator);
    } else if (range_) {
      doc->AddMember("offset", static_cast<int64_t>(std::min(range_->first, kMaxOffset)), allocator);
      // Beyond that every length means the rest.
      if (range_->last < kMaxOffset) doc->AddMember("length", range_->last - range_->first + 1, allocator);
    }
    Submit(json::ToString(*doc), false, in_.head ? 0 : kCredit);
  }

  void OnEvent(uint32_t event, std::string_view json) override {
    if (event != CSB_EVENT_META || seen_meta_) return;
    seen_meta_ = true;
    auto doc = json::ParseObject(json);
    const auto size = doc ? json::GetInt(*doc, "size") : std::nullopt;
    if (!size || *size < 0) return Fail({CSB_E_INTERNAL, "the backend tells no size of the file", "", false});
    const uint64_t whole = static_cast<uint64_t>(*size);
    const auto part = range_ ? Resolve(*range_, whole) : FilePart{0, whole};
    if (!part) return NotSatisfiable(whole);
    // What the backend says it sends must be what the header will say.
    const auto is = [&](const char* name, uint64_t expected) {
      const auto told = json::GetInt(*doc, name);
      return !told || (*told >= 0 && static_cast<uint64_t>(*told) == expected);
    };
    if (!is("offset", part->offset) || !is("length", part->length))
      return Fail(
          {CSB_E_INTERNAL, "the backend reads another part of the file than it was asked for", "", false});

    const std::string mtime(json::GetString(*doc, "mtime").value_or(""));
    const std::string tag = "W/\"" + std::to_string(whole) + "-" + Digits(mtime) + "\"";
    std::string fields = Header("ETag", tag) + Header("Accept-Ranges", "bytes");
    const int64_t changed = UnixSeconds(mtime);
    if (changed >= 0) fields += Header("Last-Modified", HttpDate(changed));
    // To the millisecond, as a listing has it.
    if (Plain(mtime, "0123456789-+:.TZ")) fields += Header("X-File-Mtime", mtime);
    if (const auto mode = json::GetString(*doc, "mode"); mode && Plain(*mode, "01234567"))
      fields += Header("X-File-Mode", *mode);
    if (Matches(in_.if_none_match, tag)) {
      call_->Abandon();
      return Answer({.status = 304, .content_type = "", .fields = std::move(fields)}, 0);
    }
    fields += Header("Content-Disposition", Disposition(in_.target.Get("path").value_or("")));
    if (range_)
      fields += Header("Content-Range", "bytes " + std::to_string(part->offset) + "-" +
                                            std::to_string(part->offset + part->length - 1) + "/" +
                                            std::to_string(whole));
    left_ = part->length;
    const Reply reply{.status = range_ ? 206 : 200, .content_type = kBytes, .fields = std::move(fields)};
    if (in_.head) {
      call_->Abandon();
      return Answer(reply, part->length);
    }
    out_.Begin(reply, part->length);
  }

  void OnOutput(uint32_t stream, std::string data) override {
    if (stream != CSB_STREAM_DATA || answered_) return;
    if (!out_.begun() || data.size() > left_)
      return Fail({CSB_E_INTERNAL, "the backend sends more of the file than it said", "", false});
    left_ -= data.size();
    const uint64_t credit = data.size();
    out_.Write(std::move(data), credit);
  }

  void OnSent(uint64_t credit) override {
    owed_ += credit;
    if (call_ != nullptr && owed_ >= kLump) call_->Credit(std::exchange(owed_, 0));
  }

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    // A file that shrank while it was read cannot be completed.
    if (!out_.begun() || left_ > 0)
      return Fail(
          {CSB_E_INTERNAL, "the file was not read to its end", "it may have changed: try again", true});
    out_.End();
  }

 private:
  static std::string Digits(const std::string& text) {
    std::string out;
    for (const char c : text)
      if (c >= '0' && c <= '9') out += c;
    return out;
  }

  void Answer(const Reply& reply, uint64_t length) {
    answered_ = true;
    out_.Begin(reply, length);
    out_.End();
  }

  void NotSatisfiable(uint64_t size) {
    call_->Abandon();
    answered_ = true;
    Reply reply =
        ErrorReply(416, "Range names no byte of the file", "it has " + std::to_string(size) + " bytes");
    reply.fields = Header("Content-Range", "bytes */" + std::to_string(size));
    out_.Respond(std::move(reply));
  }

  std::optional<ByteRange> range_;
  uint64_t left_ = 0, owed_ = 0;
  bool seen_meta_ = false;
};

}  // namespace

std::unique_ptr<Exchange> FileBytesExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<FileBytes>(app, thread, std::move(in), out);
}

}  // namespace csb::http

// SPDX-License-Identifier: Apache-2.0
//
// The files' way: mover.h has the order. Memory is bounded by one part of the tree, a quarter of a MiB of
// lines, and the windows of the pieces under way.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "host/move/mover.h"
#include "host/move/programs.h"
#include "host/service/policy.h"

namespace csb::host {

struct Mover::Progress {
  ScanParams scan;
  bool done = false;
};

namespace {

constexpr std::chrono::milliseconds kProgramLimit{280'000};  // below what a service lets anything run

Error BadLine(const std::string& why) {
  return {CSB_E_IO, "the list of the files is damaged: " + why, "try again", true};
}

// U+0000 to U+00FF back to bytes.
std::optional<std::string> Bytes(std::string_view utf8) {
  std::string out;
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto c = static_cast<unsigned char>(utf8[i]);
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if ((c == 0xC2 || c == 0xC3) && i + 1 < utf8.size()) {
      out += static_cast<char>(((c & 3) << 6) | (static_cast<unsigned char>(utf8[++i]) & 0x3F));
    } else {
      return std::nullopt;
    }
  }
  return out;
}

// What the source says is what a user may have made it say: numbers are numbers, and only they become names
// here.
Status ReadPieces(const json::Value& entry, std::vector<Piece>* out) {
  const auto name = json::GetString(entry, "p");
  const auto size = json::GetInt(entry, "s");
  const json::Value* pieces = json::Find(entry, "x");
  const auto bytes = name ? Bytes(*name) : std::nullopt;
  if (!bytes || !size || pieces == nullptr || !pieces->IsArray())
    return BadLine("a file without its members");
  for (const auto& x : pieces->GetArray()) {
    if (!x.IsArray() || x.Size() != 6 || !x[0].IsUint64() || !x[1].IsUint64() || !x[2].IsUint64() ||
        !x[3].IsString() || !(x[4].IsNull() || x[4].IsUint64()) || !x[5].IsUint64())
      return BadLine("a piece without its members");
    Piece piece;
    piece.from = x[4].IsNull() ? std::string(kWorkspace) + "/" + *bytes
                               : std::string(kStage) + "/src/" + std::to_string(x[4].GetUint64());
    piece.to = std::string(kStage) + "/in/" + std::to_string(x[0].GetUint64());
    piece.offset = x[5].GetUint64();
    piece.length = x[2].GetUint64();
    if (piece.length == 0 || piece.length > (uint64_t{1} << 30)) return BadLine("a piece of a wrong size");
    piece.whole = x[4].IsNull() && piece.offset == 0 && piece.length == static_cast<uint64_t>(*size);
    out->push_back(std::move(piece));
  }
  return {};
}

// The last line of a scan.
Status ReadSummary(const json::Value& line, ScanParams* scan, bool* done, Moved* moved) {
  const auto chain = json::GetString(line, "chain"), tree = json::GetString(line, "tree");
  const auto sequence = json::GetInt(line, "seq");
  const json::Value* next = json::Find(line, "next");
  if (!chain || !tree || !sequence || (next != nullptr && !next->IsArray()))
    return BadLine("its end is missing");
  scan->chain = *chain;
  scan->tree = *tree;
  scan->sequence = static_cast<uint64_t>(*sequence);
  scan->next = next == nullptr ? "null" : json::ToString(*next);
  *done = next == nullptr;
  if (moved != nullptr) {
    const auto add = [&](const char* name, uint64_t* to) {
      *to += static_cast<uint64_t>(std::max<int64_t>(0, json::GetInt(line, name).value_or(0)));
    };
    add("entries", &moved->entries);
    add("files", &moved->files);
    add("bytes", &moved->bytes);
    add("skipped", &moved->skipped);
  }
  return {};
}

}  // namespace

Result<std::string> Mover::Create(Endpoint& endpoint) {
  return endpoint.Do(CSB_OP_CREATE, "{}", options_.create_limit);
}

Result<Moved> Mover::Carry(const std::string& user, Endpoint& source, Endpoint& target) {
  bool begun = false;
  Moved moved{.from = source.name(), .to = target.name()};
  Status status = Copy(user, source, target, &moved, &begun);
  if (status) {
    say_("the files are there: the user's backend is now " + target.name());
    status = records_.Update(user, [&](UserRecord& r) {
      r.backend = target.name();
      r.moved_from = source.name();
      r.moving_to.clear();
    });
  }
  if (status) {
    for (Endpoint* endpoint : {&target, &source})
      if (auto s = endpoint->Stop(When::kAnyway); !s)
        moved.notes.push_back("the sandbox on " + endpoint->name() +
                              " was not stopped: " + s.error().message);
    return moved;
  }
  // Back to where it was.
  Error error = status.error();
  say_("it failed; putting everything back");
  static_cast<void>(source.RunPython(CleanProgram(), kProgramLimit, When::kAnyway));
  if (auto s = source.Stop(When::kAnyway); !s)
    error.message += "; the sandbox on " + source.name() + " was not stopped: " + s.error().message;
  if (!begun) {  // it may have files of which this knows nothing
    static_cast<void>(target.Stop(When::kAnyway));
  } else if (auto s = target.Purge(); !s) {
    error.message += "; the copy that is not whole is still on " + target.name() + ": " + s.error().message;
    error.hint +=
        (error.hint.empty() ? "" : "; ") + std::string("it is never served, and the next move removes it");
  } else if (auto kept = records_.Update(user, [](UserRecord& r) { r.moving_to.clear(); }); !kept) {
    error.message += "; " + kept.error().message;
  }
  error.hint += (error.hint.empty() ? "" : "; ") + std::string("the user's files are on ") + source.name() +
                " as before";
  return error;
}

Status Mover::Copy(const std::string& user, Endpoint& source, Endpoint& target, Moved* moved, bool* begun) {
  say_("making sandboxes on " + source.name() + " and " + target.name());
  if (auto info = Create(source); !info) return info.error();
  auto made = Create(target);
  if (!made) return made.error();
  if (auto info = json::ParseObject(*made); info)
    if (const auto gaps = Gaps(*info, options_.required); !gaps.empty())
      return Error{
          CSB_E_UNAVAILABLE,
          "backend " + target.name() + " does not guarantee " + gaps[0].name + " (" + gaps[0].why + ")",
          "sandbox.require demands it", false};
  if (auto empty = target.RunPython(BeginProgram(), kProgramLimit); !empty) {
    if (empty.error().code != CSB_E_CONFLICT || !options_.overwrite) return empty.error();
    if (auto s = target.Purge(); !s) return s;
    if (auto again = Create(target); !again) return again.error();
    if (auto begin = target.RunPython(BeginProgram(), kProgramLimit); !begin) return begin.error();
  }
  auto noted = records_.Update(user, [&](UserRecord& r) {
    r.backend = source.name();
    r.moving_to = target.name();
  });
  if (!noted) return noted;
  *begun = true;
  say_("copying");

  Progress progress;
  while (!progress.done) {
    std::string lines;
    if (auto s = CopyPart(source, target, &progress, &lines, moved); !s) return s;
    if (!lines.empty())
      if (auto placed = target.RunPython(PlaceProgram(lines), kProgramLimit); !placed) return placed.error();
    say_(std::to_string(moved->files) + " files, " + std::to_string(moved->bytes >> 20) + " MiB");
  }
  if (auto done = target.RunPython(FinishProgram(), kProgramLimit); !done) return done.error();
  if (auto done = source.RunPython(CleanProgram(), kProgramLimit); !done) return done.error();
  say_("comparing");
  if (auto s = Compare(source, progress, true); !s) return s;
  return Compare(target, progress, false);
}

Status Mover::CopyPart(Endpoint& source, Endpoint& target, Progress* progress, std::string* lines,
                       Moved* moved) {
  auto text = source.RunPython(ScanProgram(progress->scan), kProgramLimit);
  if (!text) return text.error();
  std::vector<Piece> pieces;
  bool ended = false;
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    const std::string_view line = std::string_view(*text).substr(at, end - at);
    at = end + 1;
    if (line.empty()) continue;
    auto entry = json::ParseObject(line, 8);
    if (!entry) return BadLine(entry.error().message);
    const auto kind = json::GetString(*entry, "t");
    if (kind == "z") {
      if (auto s = ReadSummary(*entry, &progress->scan, &progress->done, moved); !s) return s;
      ended = true;
      break;
    }
    if (kind == "f")
      if (auto s = ReadPieces(*entry, &pieces); !s) return s;
    lines->append(line).append("\n");
  }
  if (!ended) return BadLine("its end is missing");
  return CopyPieces(source, target, pieces);
}

Status Mover::CopyPieces(Endpoint& source, Endpoint& target, const std::vector<Piece>& pieces) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  Status status;
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i; !failed.load() && (i = next.fetch_add(1)) < pieces.size();) {
      auto s = CopyPiece(source, target, pieces[i]);
      if (s) continue;
      failed.store(true);
      const std::lock_guard lock(mutex);
      if (status) status = std::move(s);  // the first one counts
    }
  };
  std::vector<std::thread> threads;
  const auto more = std::min<size_t>(pieces.size(), static_cast<size_t>(options_.in_flight));
  for (size_t i = 1; i < more; ++i) threads.emplace_back(work);
  work();
  for (auto& thread : threads) thread.join();
  return status;
}

Status Mover::Compare(Endpoint& endpoint, const Progress& expected, bool times) {
  Progress now;
  now.scan.contents = false;
  while (!now.done) {
    auto text = endpoint.RunPython(ScanProgram(now.scan), kProgramLimit);
    if (!text) return text.error();
    auto line = json::ParseObject(*text, 8);
    if (!line) return BadLine(line.error().message);
    if (auto s = ReadSummary(*line, &now.scan, &now.done, nullptr); !s) return s;
  }
  if (now.scan.tree == expected.scan.tree && (!times || now.scan.chain == expected.scan.chain)) return {};
  if (times)
    return Error{CSB_E_CONFLICT, "files on backend " + endpoint.name() + " changed while they were moved",
                 "something still writes there; try again", true};
  return Error{CSB_E_IO, "the files on backend " + endpoint.name() + " are not those that were sent", "",
               false};
}

}  // namespace csb::host

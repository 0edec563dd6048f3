// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <memory>
#include <queue>

#include "agent/base/fd.h"
#include "agent/files/attributes.h"
#include "agent/files/operations.h"
#include "agent/files/paths.h"

namespace csb::agent {
namespace {

constexpr int64_t kDefaultLimit = 10000;
constexpr int64_t kMaxLimit = 100000;
// Left of a result line for its frame, path and counters.
constexpr size_t kReserve = 32 << 10;

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

// The first `limit` names by byte order; how many there are in all comes back in `total`. Only
// `limit` names are held, however many the folder has.
Result<std::vector<std::string>> FirstNames(int fd, size_t limit, size_t* total, const std::string& path) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  std::unique_ptr<DIR, CloseDir> dir(copy < 0 ? nullptr : fdopendir(copy));
  if (!dir) return FromErrno(errno, "list", path);
  std::priority_queue<std::string> kept;
  *total = 0;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    ++*total;
    if (kept.size() < limit) {
      kept.emplace(name);
    } else if (name < kept.top()) {
      kept.pop();
      kept.emplace(name);
    }
  }
  if (errno != 0) return FromErrno(errno, "list", path);
  std::vector<std::string> names(kept.size());
  for (size_t i = names.size(); i-- > 0; kept.pop()) names[i] = kept.top();
  return names;
}

std::string LinkTarget(int folder, const std::string& name) {
  std::string target(4096, '\0');
  const ssize_t n = readlinkat(folder, name.c_str(), target.data(), target.size());
  target.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return target;
}

// False when it has gone since it was listed.
bool Look(int folder, const std::string& name, Entry* entry) {
  entry->name = name;
  if (fstatat(folder, name.c_str(), &entry->stat, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if (S_ISLNK(entry->stat.st_mode)) entry->target = LinkTarget(folder, name);
  return true;
}

std::string EntryJson(const Entry& entry) {
  json::Buffer buffer;
  json::Writer w(buffer);
  WriteEntry(w, entry);
  return {buffer.GetString(), buffer.GetSize()};
}

// Bytes of `line` and its newline inside a JSON string; it has no control characters.
size_t SizeInJson(const std::string& line) {
  size_t size = line.size() + 2;
  for (const char c : line)
    if (c == '"' || c == '\\') ++size;
  return size;
}

std::string ResultJson(const std::string& path, const std::string& text, const std::string& entries,
                       bool truncated, size_t total) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "path", path);
  json::Member(w, "text", text);
  json::Key(w, "entries");
  const std::string array = "[" + entries + "]";
  w.RawValue(array.data(), array.size(), rapidjson::kArrayType);
  json::Member(w, "truncated", truncated);
  json::Member(w, "total", static_cast<uint64_t>(total));
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

Result<std::string> FileList(const FileTask& task) {
  auto path = OptionalPath(task.args, "path", task.io.workspace);
  if (!path) return path.error();
  auto limit = IntBetween(task.args, "limit", kDefaultLimit, 1, kMaxLimit);
  if (!limit) return limit.error();
  Fd folder(open(path->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
  const time_t now = time(nullptr);
  if (!folder) {
    if (errno != ENOTDIR) return FromErrno(errno, "list", *path);
    Entry self;  // `ls -la file` shows the file
    if (!Look(AT_FDCWD, *path, &self)) return FromErrno(errno, "list", *path);
    return ResultJson(*path, LsLines({&self}, now)[0] + "\n", EntryJson(self), false, 1);
  }

  size_t total = 0;
  auto names = FirstNames(folder.get(), static_cast<size_t>(*limit), &total, *path);
  if (!names) return names.error();
  std::vector<Entry> entries;
  entries.reserve(names->size() + 2);
  for (const char* own : {".", ".."})
    if (Entry e; Look(folder.get(), own, &e)) entries.push_back(std::move(e));
  const size_t own = entries.size();
  bool truncated = total > names->size();
  for (const std::string& name : *names)
    if (Entry e; Look(folder.get(), name, &e)) entries.push_back(std::move(e));

  std::vector<const Entry*> shown;
  for (const Entry& e : entries) shown.push_back(&e);
  const std::vector<std::string> lines = LsLines(shown, now);
  std::string text, array;
  size_t used = 2 * path->size() + kReserve;
  int64_t blocks = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string json = i < own ? "" : EntryJson(entries[i]);
    used += SizeInJson(lines[i]) + json.size() + 1;
    if (used > kMaxResultLine) {
      truncated = true;
      break;
    }
    text += lines[i] + "\n";
    if (i >= own) array += (array.empty() ? "" : ",") + json;
    blocks += entries[i].stat.st_blocks;
  }
  return ResultJson(*path, "total " + std::to_string(blocks / 2) + "\n" + text, array, truncated, total);
}

Result<std::string> FileStat(const FileTask& task) {
  auto path = RequiredPath(task.args, "path");
  if (!path) return path.error();
  Entry entry;
  if (!Look(AT_FDCWD, *path, &entry)) return FromErrno(errno, "look at", *path);
  const std::string_view name = LastName(*path);
  entry.name = name.empty() ? "/" : std::string(name);
  return EntryJson(entry);
}

}  // namespace csb::agent

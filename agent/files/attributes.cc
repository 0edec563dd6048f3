// SPDX-License-Identifier: Apache-2.0
#include "agent/files/attributes.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <map>

#include "agent/base/fd.h"
#include "agent/files/task_io.h"
#include "clara_sandbox/cpp/utf8.h"

namespace csb::agent {
namespace {

// Names of users or groups by id, from the sandbox's own /etc/passwd or /etc/group. Not getpwuid:
// in a static binary that loads NSS modules of whatever image this is.
class Names {
 public:
  explicit Names(const char* file) {
    Fd fd(open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) return;
    std::string text(64 << 10, '\0');
    const ssize_t n = ReadSome(fd.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      Add(std::string_view(text).substr(begin, end - begin));
      begin = end + 1;
    }
  }
  std::string Of(unsigned id) const {
    const auto it = names_.find(id);
    return it == names_.end() ? std::to_string(id) : it->second;
  }

 private:
  void Add(std::string_view line) {  // name:password:id:…
    const size_t first = line.find(':');
    if (first == std::string_view::npos || first == 0 || first > 32) return;
    const size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) return;
    unsigned id = 0;
    size_t digits = 0;
    for (const char c : line.substr(second + 1)) {
      if (c < '0' || c > '9' || ++digits > 9) break;
      id = id * 10 + static_cast<unsigned>(c - '0');
    }
    if (digits > 0) names_.emplace(id, EscapeName(line.substr(0, first)));
  }
  std::map<unsigned, std::string> names_;
};

std::string ModeText(mode_t mode) {
  std::string text = "-rwxrwxrwx";
  switch (mode & S_IFMT) {
    case S_IFDIR:
      text[0] = 'd';
      break;
    case S_IFLNK:
      text[0] = 'l';
      break;
    case S_IFIFO:
      text[0] = 'p';
      break;
    case S_IFSOCK:
      text[0] = 's';
      break;
    case S_IFCHR:
      text[0] = 'c';
      break;
    case S_IFBLK:
      text[0] = 'b';
      break;
    default:
      break;
  }
  for (int bit = 0; bit < 9; ++bit)
    if ((mode & (0400 >> bit)) == 0) text[static_cast<size_t>(bit) + 1] = '-';
  const auto special = [&](mode_t flag, size_t at, char lower, char upper) {
    if (mode & flag) text[at] = text[at] == 'x' ? lower : upper;
  };
  special(S_ISUID, 3, 's', 'S');
  special(S_ISGID, 6, 's', 'S');
  special(S_ISVTX, 9, 't', 'T');
  return text;
}

std::string LsTime(time_t when, time_t now) {
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm tm{};
  if (gmtime_r(&when, &tm) == nullptr || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) return "?";
  constexpr time_t kHalfYear = 365 * 24 * 3600 / 2;
  char text[64];
  if (when > now - kHalfYear && when <= now)
    snprintf(text, sizeof text, "%s %2d %02d:%02d", kMonths[static_cast<size_t>(tm.tm_mon)], tm.tm_mday,
             tm.tm_hour, tm.tm_min);
  else
    snprintf(text, sizeof text, "%s %2d  %04d", kMonths[static_cast<size_t>(tm.tm_mon)], tm.tm_mday,
             tm.tm_year + 1900);
  return text;
}

std::string LsSize(const struct stat& st) {
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
    return std::to_string(major(st.st_rdev)) + ", " + std::to_string(minor(st.st_rdev));
  return std::to_string(st.st_size);
}

}  // namespace

std::string Rfc3339(const timespec& time) {
  std::tm tm{};
  if (gmtime_r(&time.tv_sec, &tm) == nullptr || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900)
    return time.tv_sec < 0 ? "0000-01-01T00:00:00.000Z" : "9999-12-31T23:59:59.999Z";
  char text[96];
  snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
           tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, static_cast<int>(time.tv_nsec / 1000000));
  return text;
}

std::string OctalMode(mode_t mode) {
  char text[8];
  snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

std::string_view TypeName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "dir";
    case S_IFLNK:
      return "link";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    case S_IFCHR:
      return "char";
    case S_IFBLK:
      return "block";
    default:
      return "file";
  }
}

void WriteEntry(json::Writer& w, const Entry& entry) {
  w.StartObject();
  json::Member(w, "name", utf8::Clean(entry.name));
  if (!utf8::Valid(entry.name)) json::Member(w, "name_escaped", EscapeName(entry.name));
  json::Member(w, "type", TypeName(entry.stat.st_mode));
  json::Member(w, "size", static_cast<int64_t>(entry.stat.st_size));
  json::Member(w, "mode", OctalMode(entry.stat.st_mode));
  json::Member(w, "mtime", Rfc3339(entry.stat.st_mtim));
  if (S_ISLNK(entry.stat.st_mode)) json::Member(w, "target", utf8::Clean(entry.target));
  w.EndObject();
}

std::vector<std::string> LsLines(const std::vector<const Entry*>& entries, time_t now) {
  const Names users("/etc/passwd"), groups("/etc/group");
  std::vector<std::array<std::string, 4>> columns;  // links, user, group, size
  std::array<size_t, 4> width{};
  for (const Entry* e : entries) {
    columns.push_back({std::to_string(e->stat.st_nlink), users.Of(e->stat.st_uid), groups.Of(e->stat.st_gid),
                       LsSize(e->stat)});
    for (size_t i = 0; i < width.size(); ++i) width[i] = std::max(width[i], columns.back()[i].size());
  }
  std::vector<std::string> lines;
  const auto pad = [&](size_t i, const std::string& s) { return std::string(width[i] - s.size(), ' '); };
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& e = *entries[i];
    const auto& c = columns[i];
    std::string line = ModeText(e.stat.st_mode) + " " + pad(0, c[0]) + c[0] + " " + c[1] + pad(1, c[1]) +
                       " " + c[2] + pad(2, c[2]) + " " + pad(3, c[3]) + c[3] + " " +
                       LsTime(e.stat.st_mtim.tv_sec, now) + " " + EscapeName(e.name);
    if (S_ISLNK(e.stat.st_mode)) line += " -> " + EscapeName(e.target);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace csb::agent

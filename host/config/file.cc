// SPDX-License-Identifier: Apache-2.0
//
// Boost.Program_options parses the lines, but does not say which one is wrong. So it is handed one line at a
// time, below the header of its section, and this file counts.
#include "host/config/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/program_options/errors.hpp>
#include <boost/program_options/option.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <sstream>

#include "clara_sandbox/cpp/utf8.h"
#include "host/config/suggest.h"
#include "host/config/value.h"

namespace csb::host {
namespace {

namespace po = boost::program_options;

std::string_view Trim(std::string_view s) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = s.find_first_not_of(kBlank);
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(kBlank) - first + 1);
}

// What the parser would take as something else than the user meant; "" if nothing.
std::string CheckLine(std::string_view line) {
  if (line.find('\0') != line.npos) return "has a NUL byte; this is not a text file";
  if (!utf8::Valid(line)) return "is not valid UTF-8";
  for (const char c : line)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F) return "has a control character";
  const size_t hash = line.find('#');
  if (hash != line.npos && hash > 0 && line[hash - 1] != ' ' && line[hash - 1] != '\t')
    return "has a # inside a value, where a comment would start; put a blank before a comment, and give "
           "values "
           "that need a # by the environment";
  return {};
}

// Puts the "section" of "[section]" into `section`; false when the line is no header.
bool IsHeader(std::string_view line, std::string& section) {
  if (!line.starts_with('[')) return false;
  const size_t end = line.find(']');
  if (end == line.npos) return false;
  section = Trim(line.substr(1, end - 1));
  return true;
}

Result<Setting> ParseLine(const std::string& section, std::string_view line, unsigned number) {
  static const po::options_description kAnyKey;
  std::istringstream stream((section.empty() ? "" : "[" + section + "]\n") + std::string(line) + "\n");
  try {
    const auto parsed = po::parse_config_file(stream, kAnyKey, true);
    if (parsed.options.size() == 1 && parsed.options[0].value.size() == 1 && !line.starts_with('='))
      return Setting{parsed.options[0].string_key, parsed.options[0].value[0], number};
  } catch (const po::error&) {
    // Falls through: the parser's own words name neither file nor line.
  }
  return Error{CSB_E_INVALID, Quoted(line) + " is not of the form: key = value", "", false};
}

}  // namespace

Result<std::vector<Setting>> ParseConfigText(std::string_view text, const std::string& name) {
  std::vector<Setting> settings;
  std::map<std::string, unsigned> seen;
  std::string section;
  unsigned number = 0;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark
  while (!text.empty()) {
    ++number;
    const auto fail = [&](const std::string& why) {
      return Error{CSB_E_INVALID, name + ":" + std::to_string(number) + ": " + why, "", false};
    };
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view line = Trim(raw);
    if (line.size() > kMaxValue) return fail("the line is longer than " + FormatSize(kMaxValue));
    // Comments may hold anything that is text.
    const bool comment = line.empty() || line[0] == '#';
    if (std::string why = comment ? CheckLine({}) : CheckLine(line); !why.empty())
      return fail("the line " + why);
    if (comment) {
      if (line.find('\0') != line.npos) return fail("the line has a NUL byte; this is not a text file");
      continue;
    }
    const std::string_view code = Trim(line.substr(0, std::min(line.find('#'), line.size())));
    if (code.starts_with('[')) {
      if (!IsHeader(code, section) || !code.ends_with(']') || section.empty() ||
          section.find_first_of("[] \t=") != section.npos)
        return fail(Quoted(code) + " is not of the form: [section]");
      continue;
    }
    auto setting = ParseLine(section, code, number);
    if (!setting) return fail(setting.error().message);
    const std::string& value = setting->value;
    if (value.size() >= 2 && (value[0] == '"' || value[0] == '\'') && value.back() == value[0])
      return fail(setting->key + ": a value is written without quotes");
    if (const auto [first, fresh] = seen.emplace(setting->key, number); !fresh)
      return fail(setting->key + " is set twice; the first time in line " + std::to_string(first->second));
    settings.push_back(*std::move(setting));
  }
  return settings;
}

Result<std::string> ReadConfigFile(const std::string& path) {
  const auto fail = [&](const std::string& why) {
    return Error{CSB_E_INVALID, "configuration file " + path + ": " + why,
                 "Give another file with --config, or the environment variable CLARA_SANDBOX_CONFIG.", false};
  };
  // Not blocking, so that opening a FIFO does not wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return fail(std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat info {};
  if (fstat(fd, &info) != 0) return fail(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return fail("is not a regular file");
  std::string text(kMaxConfigFile + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = read(fd, text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(std::strerror(errno));
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  if (size > kMaxConfigFile) return fail("is larger than " + FormatSize(kMaxConfigFile));
  text.resize(size);
  return text;
}

}  // namespace csb::host

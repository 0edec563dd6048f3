// SPDX-License-Identifier: Apache-2.0
#include "host/config/value.h"

#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>

#include "clara_sandbox/cpp/utf8.h"
#include "host/config/suggest.h"

namespace csb::host {
namespace {

Error Bad(std::string message) { return {CSB_E_INVALID, std::move(message), "", false}; }

std::string_view Trim(std::string_view s) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t first = s.find_first_not_of(kBlank);
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(kBlank) - first + 1);
}

std::string Lower(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// The decimal at the start of `text` and what follows it. Neither "inf", "nan" nor hexadecimal is a decimal.
std::optional<std::pair<double, std::string_view>> LeadingDecimal(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || ((digits[0] < '0' || digits[0] > '9') && digits[0] != '.')) return std::nullopt;
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error == std::errc::result_out_of_range)
    value = HUGE_VAL;
  else if (error != std::errc())
    return std::nullopt;
  return std::pair{value, text.substr(static_cast<size_t>(end - text.data()))};
}

Status CheckBounds(const ValueType& type, double value, std::string (*format)(double)) {
  if (type.min == 0 && type.max == 0) return {};
  if (value < type.min) return Bad("is less than the minimum " + format(type.min));
  if (value > type.max) return Bad("is more than the maximum " + format(type.max));
  return {};
}

Status CheckText(std::string_view text) {
  if (text.size() > kMaxValue) return Bad("is longer than " + FormatSize(kMaxValue));
  if (!utf8::Valid(text)) return Bad("is not valid UTF-8");
  for (const char c : text)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F)
      return Bad("has a control character");
  return {};
}

Result<std::string> Integer(const ValueType& type, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) return Bad("does not fit into 64 bits");
  if (error != std::errc() || end != text.data() + text.size()) return Bad("is not a whole number");
  if (auto status = CheckBounds(type, static_cast<double>(value), FormatNumber); !status)
    return status.error();
  return std::to_string(value);
}

Result<std::string> Float(const ValueType& type, std::string_view text) {
  const auto number = LeadingDecimal(text);
  if (!number || !number->second.empty()) return Bad("is not a number; write it like 1.5");
  if (!std::isfinite(number->first)) return Bad("is too large a number");
  if (auto status = CheckBounds(type, number->first, FormatNumber); !status) return status.error();
  return FormatNumber(number->first);
}

Result<std::string> Bool(std::string_view text) {
  const std::string word = Lower(text);
  for (const char* yes : {"1", "true", "yes", "on"})
    if (word == yes) return std::string("1");
  for (const char* no : {"0", "false", "no", "off"})
    if (word == no) return std::string("0");
  return Bad("is neither yes nor no; write true or false");
}

Result<std::string> Choice(const ValueType& type, std::string_view text) {
  std::string all;
  for (const std::string& choice : type.choices) {
    if (Lower(choice) == Lower(text)) return choice;
    all += (all.empty() ? "" : ", ") + choice;
  }
  const std::string near = Nearest(Lower(text), type.choices);
  return Bad("is not one of " + all + (near.empty() ? "" : "; did you mean " + near + "?"));
}

Result<std::string> Path(std::string_view text, std::string_view folder, std::string_view home) {
  if (text.empty()) return std::string();
  if (text.size() > 4096) return Bad("is longer than a path may be (4096 bytes)");
  std::filesystem::path path(text);
  if (text == "~" || text.starts_with("~/")) {
    if (home.empty()) return Bad("starts with ~, but HOME is not set");
    path = std::filesystem::path(home) / text.substr(std::min<size_t>(2, text.size()));
  } else if (path.is_relative() && !folder.empty()) {
    path = std::filesystem::path(folder) / path;
  }
  path = path.lexically_normal();
  if (!path.has_filename() && path.has_relative_path()) path = path.parent_path();  // no slash at the end
  // Written back it would be another path.
  if (Trim(path.native()) != path.native()) return Bad("ends with a blank");
  return path.string();
}

}  // namespace

std::string FormatNumber(double value) {
  std::array<char, 400> buffer;  // the longest double in fixed notation has 309 digits before the point
  const auto [end, error] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  return error == std::errc() ? std::string(buffer.data(), end) : std::string("0");
}

std::string FormatSize(uint64_t bytes) {
  if (bytes == 0) return "unlimited";
  static constexpr std::array kUnits = {" bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return FormatNumber(std::round(value * 100) / 100) + kUnits[unit];
}

Result<uint64_t> ParseSize(std::string_view text) {
  const Error wrong = Bad("is not a size; write it like 512m, 512MiB, 1g or unlimited");
  const std::string word = Lower(Trim(text));
  if (word == "unlimited") return uint64_t{0};
  const auto number = LeadingDecimal(word);
  if (!number) return wrong;
  if (number->first < 0 || std::signbit(number->first)) return Bad("is negative");
  std::string_view unit = Trim(number->second);
  double factor = 1;
  if (!unit.empty() && unit != "b" && unit != "bytes") {
    const size_t power = std::string_view("kmgtpe").find(unit[0]);
    unit.remove_prefix(1);
    if (power == std::string_view::npos || !(unit.empty() || unit == "b" || unit == "ib" || unit == "i"))
      return wrong;
    factor = std::pow(1024.0, static_cast<double>(power + 1));
  }
  const double bytes = number->first * factor;
  if (!(bytes < 9223372036854775808.0)) return Bad("is too large a size (8 EiB is the end)");
  const auto whole = static_cast<uint64_t>(std::floor(bytes));
  if (whole == 0 && number->first > 0) return Bad("is less than a byte");
  return whole;
}

Result<double> ParseSeconds(std::string_view text) {
  const Error wrong = Bad("is not a time; write it like 30, 1.5, 500ms, 15m or 1h");
  const std::string word = Lower(Trim(text));
  const auto number = LeadingDecimal(word);
  if (!number) return wrong;
  if (number->first < 0 || std::signbit(number->first)) return Bad("is negative");
  const std::string_view unit = Trim(number->second);
  double factor = 0;
  for (const auto& [name, seconds] : {std::pair{"", 1.0},
                                      {"s", 1.0},
                                      {"ms", 0.001},
                                      {"m", 60.0},
                                      {"min", 60.0},
                                      {"h", 3600.0},
                                      {"d", 86400.0}})
    if (unit == name) factor = seconds;
  if (factor == 0) return wrong;
  const double value = number->first * factor;
  if (!std::isfinite(value) || value > 1e9) return Bad("is too long a time");
  return value;
}

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> words;
  constexpr std::string_view kBetween = " \t\r\n,";
  while (true) {
    const size_t first = text.find_first_not_of(kBetween);
    if (first == text.npos) return words;
    text.remove_prefix(first);
    const size_t size = std::min(text.find_first_of(kBetween), text.size());
    words.emplace_back(text.substr(0, size));
    text.remove_prefix(size);
  }
}

Result<std::string> Normalise(const ValueType& type, std::string_view text, std::string_view folder,
                              std::string_view home) {
  text = Trim(text);
  if (auto status = CheckText(text); !status) return status.error();
  switch (type.type) {
    case CSB_OPTION_STRING:
    case CSB_OPTION_SECRET:
      return std::string(text);
    case CSB_OPTION_PATH:
      return Path(text, folder, home);
    default:
      break;
  }
  if (text.empty()) return Bad("has no value");
  switch (type.type) {
    case CSB_OPTION_INT:
      return Integer(type, text);
    case CSB_OPTION_FLOAT:
      return Float(type, text);
    case CSB_OPTION_BOOL:
      return Bool(text);
    case CSB_OPTION_CHOICE:
      return Choice(type, text);
    case CSB_OPTION_SIZE: {
      auto size = ParseSize(text);
      if (!size) return size.error();
      const auto format = [](double bytes) { return FormatSize(static_cast<uint64_t>(bytes)); };
      if (auto status = CheckBounds(type, static_cast<double>(*size), format); !status) return status.error();
      return std::to_string(*size);
    }
    case CSB_OPTION_SECONDS: {
      auto seconds = ParseSeconds(text);
      if (!seconds) return seconds.error();
      const auto format = [](double value) { return FormatNumber(value) + " s"; };
      if (auto status = CheckBounds(type, *seconds, format); !status) return status.error();
      return FormatNumber(*seconds);
    }
    default:
      return Bad("has an option type that this host does not know (" + std::to_string(type.type) + ")");
  }
}

}  // namespace csb::host

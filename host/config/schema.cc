// SPDX-License-Identifier: Apache-2.0
#include "host/config/schema.h"

#include <cmath>

#include "host/config/suggest.h"

namespace csb::host {
namespace {

constexpr uint32_t kMaxOptions = 512;  // of one owner

bool IsName(std::string_view s, std::string_view letters) {
  return !s.empty() && s.size() <= 64 && s.find_first_not_of(letters) == s.npos;
}

constexpr std::string_view kKeyLetters = "abcdefghijklmnopqrstuvwxyz0123456789_-";
constexpr std::string_view kEnvLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

// What is wrong with a declaration; "" if nothing.
std::string CheckDeclaration(const std::string& owner, const Option& option) {
  const size_t dot = option.key.find('.');
  if (dot == option.key.npos || !IsName(std::string_view(option.key).substr(0, dot), kKeyLetters) ||
      !IsName(std::string_view(option.key).substr(dot + 1), kKeyLetters))
    return "the key is not of the form section.name, with letters a-z, digits, _ and -";
  if (owner != "host" && option.key.substr(0, dot) != owner)
    return "the key does not start with " + owner + ".";
  if (option.type.type < CSB_OPTION_STRING || option.type.type > CSB_OPTION_SECRET)
    return "its type " + std::to_string(option.type.type) + " is not known";
  if (option.type.type == CSB_OPTION_CHOICE && option.type.choices.empty()) return "it has no choices";
  if (!std::isfinite(option.type.min) || !std::isfinite(option.type.max) || option.type.min > option.type.max)
    return "its bounds are not min <= max";
  for (const std::string& name : option.env)
    if (!IsName(name, kEnvLetters)) return Quoted(name) + " is not an environment name";
  if (option.default_value && !option.default_value->empty())
    if (auto value = Normalise(option.type, *option.default_value, "/", "/"); !value)
      return "its default " + Quoted(*option.default_value) + " " + value.error().message;
  return {};
}

Option FromAbi(const std::string& owner, const csb_option& from) {
  Option option;
  option.owner = owner;
  option.key = from.key;
  option.type = {from.type, SplitList(from.choices == nullptr ? "" : from.choices), from.min, from.max};
  option.env = SplitList(from.env == nullptr ? "" : from.env);
  if (from.default_value != nullptr) option.default_value = from.default_value;
  option.help = from.help == nullptr ? "" : from.help;
  return option;
}

}  // namespace

Status Schema::Add(const std::string& owner, std::span<const csb_option> options, std::string description) {
  const auto refuse = [&](const std::string& which, const std::string& why) {
    return Error{CSB_E_INVALID, owner + ": option " + which + ": " + why,
                 owner == "host" ? "" : "Tell the author of the plugin.", false};
  };
  if (options.size() > kMaxOptions)
    return refuse("list", "has more than " + std::to_string(kMaxOptions) + " options");
  std::vector<Option> checked;
  // The structs of an older plugin may be shorter than ours, so the array is walked by their own size.
  const auto* at = reinterpret_cast<const char*>(options.data());
  for (size_t i = 0; i < options.size(); ++i) {
    const auto* from = reinterpret_cast<const csb_option*>(at);
    if (from->struct_size < sizeof(csb_option))
      return refuse("number " + std::to_string(i), "struct_size is " + std::to_string(from->struct_size) +
                                                       ", less than " + std::to_string(sizeof(csb_option)));
    if (from->key == nullptr) return refuse("number " + std::to_string(i), "has no key");
    Option option = FromAbi(owner, *from);
    if (std::string why = CheckDeclaration(owner, option); !why.empty()) return refuse(option.key, why);
    bool twice = by_key_.contains(option.key);
    for (const Option& other : checked) twice = twice || other.key == option.key;
    if (twice) return refuse(option.key, "is declared twice");
    checked.push_back(std::move(option));
    at += from->struct_size;
  }
  for (Option& option : checked) {
    by_key_.emplace(option.key, options_.size());
    options_.push_back(std::move(option));
  }
  descriptions_[owner] = std::move(description);
  return {};
}

std::string_view Schema::Description(std::string_view owner) const {
  const auto it = descriptions_.find(owner);
  return it == descriptions_.end() ? std::string_view() : it->second;
}

const Option* Schema::Find(std::string_view key) const {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : &options_[it->second];
}

std::vector<std::string> Schema::Keys() const {
  std::vector<std::string> keys;
  for (const Option& option : options_) keys.push_back(option.key);
  return keys;
}

std::string_view NameOfType(uint32_t type) {
  switch (type) {
    case CSB_OPTION_STRING:
      return "text";
    case CSB_OPTION_INT:
      return "whole number";
    case CSB_OPTION_FLOAT:
      return "number";
    case CSB_OPTION_BOOL:
      return "true or false";
    case CSB_OPTION_SIZE:
      return "size";
    case CSB_OPTION_SECONDS:
      return "time";
    case CSB_OPTION_CHOICE:
      return "one of";
    case CSB_OPTION_PATH:
      return "path";
    case CSB_OPTION_SECRET:
      return "secret";
    default:
      return "unknown";
  }
}

}  // namespace csb::host

// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/records.h"

#include <charconv>
#include <chrono>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "plugins/incus/limits.h"

namespace csb::incus {
namespace {

constexpr char kAbout[] = "clara-sandbox: what is known of a user; no instance uses it";
constexpr char kInstance[] = "user.clara-sandbox.instance";
constexpr char kGeneration[] = "user.clara-sandbox.generation";
constexpr char kPool[] = "user.clara-sandbox.pool";
constexpr char kVolume[] = "user.clara-sandbox.volume";
constexpr char kLeft[] = "user.clara-sandbox.left";
constexpr char kMember[] = "user.clara-sandbox.member";
constexpr char kCreated[] = "user.clara-sandbox.created";
constexpr char kLimits[] = "user.clara-sandbox.limits";

std::string TextOf(const Limits& limits) {
  json::Buffer buffer;
  json::Writer w(buffer);
  WriteLimits(w, limits);
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

uint64_t FirstGeneration() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

Config ConfigOf(const Record& record, const std::string& installation) {
  Config out = {{kKeyInstallation, installation},
                {kKeyKind, "record"},
                {kKeyUser, record.user},
                {kInstance, record.instance},
                {kGeneration, std::to_string(record.generation)},
                {kPool, record.pool},
                {kVolume, record.volume},
                {kCreated, record.created_at},
                {kKeyImage, record.image},
                {kLimits, TextOf(record.limits)}};
  if (!record.member.empty()) out[kMember] = record.member;
  if (!record.left.empty()) out[kLeft] = record.left;
  return out;
}

Result<Record> RecordOf(const ProfileInfo& profile) {
  const auto member = [&](const char* key) { return ValueOf(profile.config, key); };
  const Error wrong{
      CSB_E_INTERNAL, "the profile " + profile.name + " is no record of clara-sandbox",
      "incus profile show " + profile.name + "; files it stands for are in the volume of its name", false};
  Record out;
  out.user = member(kKeyUser);
  out.instance = member(kInstance);
  out.pool = member(kPool);
  out.volume = member(kVolume);
  out.member = member(kMember);
  out.left = member(kLeft);
  out.created_at = member(kCreated);
  out.image = member(kKeyImage);
  out.etag = profile.etag;
  const std::string generation = member(kGeneration);
  const auto number =
      std::from_chars(generation.data(), generation.data() + generation.size(), out.generation);
  if (!CheckUserId(out.user) || out.instance.empty() || out.volume.empty() || out.pool.empty() ||
      number.ec != std::errc())
    return wrong;
  // Without them it would be one without any.
  auto limits = json::ParseObject(member(kLimits));
  if (!limits || member(kLimits).empty()) return wrong;
  out.limits = ReadLimits(*limits);
  return out;
}

Status Records::Create(const std::string& key, const Record& record) const {
  return engine_.CreateProfile(names_.Record(key), kAbout, ConfigOf(record, names_.installation()),
                               kAskLimit);
}

Result<Record> Records::Read(const std::string& key) const {
  auto profile = engine_.Profile(names_.Record(key), kAskLimit);
  if (!profile) return profile.error();
  auto record = RecordOf(*profile);
  // Somebody else's words about somebody else are nothing to act upon.
  if (record && KeyOf(record->user) != key)
    return Error{CSB_E_INTERNAL, "the profile " + profile->name + " belongs to another user", "", false};
  return record;
}

Status Records::Replace(const std::string& key, const Record& record) const {
  return engine_.ReplaceProfile({names_.Record(key), ConfigOf(record, names_.installation()), record.etag},
                                kAbout, kAskLimit);
}

Status Records::Remove(const std::string& key) const {
  return engine_.DeleteProfile(names_.Record(key), kAskLimit);
}

Result<std::vector<Record>> Records::All(bool* complete) const {
  auto profiles = engine_.Profiles(names_.prefix(), kAskLimit);
  if (!profiles) return profiles.error();
  std::vector<Record> out;
  if (complete != nullptr) *complete = true;
  for (const ProfileInfo& profile : *profiles) {
    if (const auto kind = profile.config.find(kKeyKind);
        kind != profile.config.end() && kind->second == "move" && names_.KeyIn(profile.name).empty())
      continue;
    auto record = RecordOf(profile);
    if (record && names_.Record(KeyOf(record->user)) == profile.name)
      out.push_back(*std::move(record));
    else if (complete != nullptr)
      *complete = false;
  }
  return out;
}

}  // namespace csb::incus

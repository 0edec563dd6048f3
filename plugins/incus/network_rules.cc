// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/network_rules.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <random>
#include <tuple>

#include "plugins/incus/names.h"

namespace csb::incus {
namespace {

constexpr int kDraws = 16;
constexpr char kKeyNote[] = "user.clara-sandbox.note";

int Bits(int family) { return family == AF_INET ? 32 : 128; }

std::optional<int> Number(std::string_view text, int most) {
  int out = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || text[0] == '-' || end.ec != std::errc() || end.ptr != text.data() + text.size() ||
      out > most)
    return std::nullopt;
  return out;
}

bool Bit(const std::array<uint8_t, 16>& bytes, int at) {
  return (bytes[static_cast<size_t>(at / 8)] >> (7 - at % 8) & 1) != 0;
}

std::string Joined(const std::vector<AddressRange>& ranges) {
  std::string out;
  for (const AddressRange& range : ranges) out += (out.empty() ? "" : ",") + range.text();
  return out;
}

// "a-b,c-d" of a network's config; what is no such range is left out.
std::vector<std::pair<uint32_t, uint32_t>> ReadSpans(std::string_view text) {
  std::vector<std::pair<uint32_t, uint32_t>> out;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const size_t dash = item.find('-');
    if (dash == std::string_view::npos) continue;
    const auto from = ReadIpv4(item.substr(0, dash)), to = ReadIpv4(item.substr(dash + 1));
    if (from && to) out.emplace_back(*from, *to);
  }
  return out;
}

void WriteRule(json::Writer& w, const char* action, const std::string& destination) {
  w.StartObject();
  json::Member(w, "action", action);
  if (!destination.empty()) json::Member(w, "destination", destination);
  json::Member(w, "state", "enabled");
  w.EndObject();
}

// Of one rule of the engine's answer: nothing but action, state and destination may stand in it.
bool IsPlain(const json::Value& rule, std::string_view action) {
  if (json::GetString(rule, "action").value_or("") != action) return false;
  if (json::GetString(rule, "state").value_or("") != "enabled") return false;
  for (const char* narrower :
       {"source", "protocol", "source_port", "destination_port", "icmp_type", "icmp_code"})
    if (!json::GetString(rule, narrower).value_or("").empty()) return false;
  return true;
}

}  // namespace

std::string AddressRange::text() const {
  char out[INET6_ADDRSTRLEN] = "?";
  inet_ntop(family, bytes.data(), out, sizeof out);
  return std::string(out) + "/" + std::to_string(prefix);
}

bool AddressRange::Covers(const AddressRange& other) const {
  if (family != other.family || prefix > other.prefix) return false;
  for (int at = 0; at < prefix; ++at)
    if (Bit(bytes, at) != Bit(other.bytes, at)) return false;
  return true;
}

std::optional<AddressRange> ReadRange(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  AddressRange out{address.find(':') == std::string::npos ? AF_INET : AF_INET6, {}, 0};
  out.prefix = Bits(out.family);
  if (inet_pton(out.family, address.c_str(), out.bytes.data()) != 1) return std::nullopt;
  if (slash != std::string_view::npos) {
    const auto bits = Number(text.substr(slash + 1), out.prefix);
    if (!bits) return std::nullopt;
    out.prefix = *bits;
  }
  for (int at = out.prefix; at < Bits(out.family); ++at)
    if (Bit(out.bytes, at)) return std::nullopt;
  return out;
}

Result<std::vector<AddressRange>> ReadRanges(std::string_view text) {
  std::vector<AddressRange> out;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    if (item.empty()) continue;
    const auto range = item.find('/') == std::string_view::npos ? std::nullopt : ReadRange(item);
    if (!range)
      return Error{CSB_E_INVALID, "incus.blocked: \"" + std::string(item) + "\" is no address range",
                   "write ranges as 10.0.0.0/8,fc00::/7: no blanks, host bits 0", false};
    out.push_back(*range);
  }
  return out;
}

std::vector<AddressRange> Merge(std::vector<AddressRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const AddressRange& a, const AddressRange& b) {
    return std::tie(a.family, a.bytes, a.prefix) < std::tie(b.family, b.bytes, b.prefix);
  });
  // In this order what covers a range stands before it, and nothing else between but what it covers too.
  std::vector<AddressRange> out;
  for (const AddressRange& range : ranges)
    if (out.empty() || !out.back().Covers(range)) out.push_back(range);
  return out;
}

AddressRange Subnet::range() const {
  AddressRange out{AF_INET, {}, prefix};
  const uint32_t network = htonl(first());
  std::memcpy(out.bytes.data(), &network, sizeof network);
  return out;
}

std::optional<uint32_t> ReadIpv4(std::string_view text) {
  in_addr out{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &out) != 1) return std::nullopt;
  return ntohl(out.s_addr);
}

std::string Ipv4Text(uint32_t address) {
  const in_addr in{htonl(address)};
  char out[INET_ADDRSTRLEN] = "?";
  inet_ntop(AF_INET, &in, out, sizeof out);
  return out;
}

std::optional<Subnet> ReadSubnet(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = ReadIpv4(text.substr(0, slash));
  const auto prefix = Number(text.substr(slash + 1), 29);
  if (!address || !prefix || *prefix < 8) return std::nullopt;
  return Subnet{*address, *prefix};
}

std::string DhcpRange(const Subnet& subnet) {
  const uint32_t quarter = (subnet.last() - subnet.first() + 1) / 4;
  return Ipv4Text(subnet.first() + 2) + "-" + Ipv4Text(subnet.first() + std::max(quarter, 4u) - 1);
}

std::optional<uint32_t> PickFree(const Subnet& subnet, const Config& network,
                                 const std::set<uint32_t>& taken) {
  const auto ranges = network.find("ipv4.dhcp.ranges");
  const auto spans = ReadSpans(ranges == network.end() ? "" : ranges->second);
  const auto dynamic = [&](uint32_t address) {
    return std::any_of(spans.begin(), spans.end(),
                       [&](const auto& s) { return address >= s.first && address <= s.second; });
  };
  static thread_local std::mt19937 random{std::random_device{}()};
  // From somewhere in the network once round it; its first address is nobody's, its last one everybody's.
  const uint32_t count = subnet.last() - subnet.first() - 1;
  std::uniform_int_distribution<uint32_t> anywhere(0, count - 1);
  uint32_t start = anywhere(random);
  // Not from within what is left out, or the first address beyond it would be everybody's choice.
  for (int i = 0; i < kDraws && dynamic(subnet.first() + 1 + start); ++i) start = anywhere(random);
  std::optional<uint32_t> second_best;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t address = subnet.first() + 1 + (start + i) % count;
    if (address == subnet.bridge || taken.contains(address)) continue;
    if (!dynamic(address)) return address;
    if (!second_best) second_best = address;
  }
  return second_best;
}

Config BridgeConfig(const std::string& acl, const std::string& installation) {
  return {{"ipv4.nat", "true"},
          {"ipv4.dhcp", "true"},
          {"ipv6.address", "none"},
          // A name server that told the names of instances would tell who else is here.
          {"dns.mode", "none"},
          {"security.acls", acl},
          {"security.acls.default.egress.action", "reject"},
          {"security.acls.default.ingress.action", "drop"},
          {kKeyInstallation, installation},
          {kKeyKind, "network"}};
}

Config Differences(const Config& have, const Config& want) {
  Config out;
  for (const auto& [key, value] : want) {
    const auto at = have.find(key);
    // The engine leaves this one out where it is what it would be anyway.
    if (at == have.end() && key == "ipv4.dhcp") continue;
    if (at == have.end() || at->second != value) out[key] = value;
  }
  return out;
}

// The engine sorts rules by their action: drop, reject, allow.
std::string AclBody(const std::string& name, const std::string& installation, const std::string& note,
                    const std::vector<AddressRange>& rejected) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "name", name);
  json::Member(w, "description", "clara-sandbox: out to public addresses only");
  json::Key(w, "config");
  w.StartObject();
  json::Member(w, kKeyInstallation, installation);
  if (!note.empty()) json::Member(w, kKeyNote, note);
  w.EndObject();
  json::Key(w, "egress");
  w.StartArray();
  if (!rejected.empty()) WriteRule(w, "reject", Joined(rejected));
  WriteRule(w, "allow", "");
  w.EndArray();
  json::Key(w, "ingress");
  w.StartArray();
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

bool AclHolds(const json::Value& acl, const std::string& note, const std::vector<AddressRange>& rejected) {
  const json::Value* config = json::Find(acl, "config");
  if (config == nullptr || json::GetString(*config, kKeyNote).value_or("") != note) return false;
  const json::Value* ingress = json::Find(acl, "ingress");
  if (ingress != nullptr && (!ingress->IsArray() || !ingress->Empty())) return false;
  const json::Value* egress = json::Find(acl, "egress");
  if (egress == nullptr || !egress->IsArray()) return false;
  std::vector<AddressRange> there;
  bool allowed = false;
  for (const json::Value& rule : egress->GetArray()) {
    const std::string_view destination = json::GetString(rule, "destination").value_or("");
    if (IsPlain(rule, "allow") && destination.empty()) {
      allowed = true;
    } else if (IsPlain(rule, "reject")) {
      auto ranges = ReadRanges(destination);
      if (!ranges) return false;
      there.insert(there.end(), ranges->begin(), ranges->end());
    } else {
      return false;
    }
  }
  return allowed && std::all_of(rejected.begin(), rejected.end(), [&](const AddressRange& wanted) {
           return std::any_of(there.begin(), there.end(),
                              [&](const AddressRange& r) { return r.Covers(wanted); });
         });
}

std::set<uint32_t> ReadLeases(const json::Value& metadata) {
  std::set<uint32_t> out;
  if (!metadata.IsArray()) return out;
  for (const json::Value& lease : metadata.GetArray())
    if (const auto address = ReadIpv4(json::GetString(lease, "address").value_or(""))) out.insert(*address);
  return out;
}

std::vector<AddressRange> ReadAddresses(const json::Value& metadata) {
  std::vector<AddressRange> out;
  const json::Value* addresses = json::Find(metadata, "addresses");
  if (addresses == nullptr || !addresses->IsArray()) return out;
  for (const json::Value& one : addresses->GetArray()) {
    const std::string_view scope = json::GetString(one, "scope").value_or("");
    const std::string_view address = json::GetString(one, "address").value_or("");
    if (scope == "local" || scope == "link" || address.find('/') != std::string_view::npos) continue;
    if (auto range = ReadRange(address)) out.push_back(*range);
  }
  return out;
}

}  // namespace csb::incus

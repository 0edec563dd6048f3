// SPDX-License-Identifier: Apache-2.0
//
// network_rules.h: what a bridge of ours is made of: its settings, its access list, the addresses in it.
// Nothing here asks anybody.
//
//   auto blocked = ReadRanges("10.0.0.0/8,fc00::/7");            // of the configuration
//   auto subnet = ReadSubnet(network.config.at("ipv4.address")); // "10.84.3.1/24"
//   engine.PutAcl(name, AclBody(name, installation, "incus.blocked=…", Merge(*blocked)), limit);
//   auto address = PickFree(*subnet, network.config, taken);
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/incus/engine.h"

namespace csb::incus {

struct AddressRange {
  int family;                     // AF_INET or AF_INET6
  std::array<uint8_t, 16> bytes;  // network order, host bits 0
  int prefix;

  std::string text() const;  // "10.0.0.0/8"
  bool Covers(const AddressRange& other) const;
};

// "10.0.0.0/8"; "10.1.2.3" is one address. nullopt: it is none, or has host bits.
std::optional<AddressRange> ReadRange(std::string_view text);
// Comma separated; the error names what is wrong.
Result<std::vector<AddressRange>> ReadRanges(std::string_view text);
// Without those that another one covers, in a fixed order: a set of nftables takes no overlaps.
std::vector<AddressRange> Merge(std::vector<AddressRange> ranges);

// Of a bridge: "10.84.3.1/24".
struct Subnet {
  uint32_t bridge = 0;  // host order
  int prefix = 0;       // 8 to 29
  uint32_t first() const { return bridge & mask(); }
  uint32_t last() const { return first() | ~mask(); }
  AddressRange range() const;

 private:
  uint32_t mask() const { return ~uint32_t{0} << (32 - prefix); }
};
std::optional<Subnet> ReadSubnet(std::string_view text);
std::string Ipv4Text(uint32_t address);  // host order
std::optional<uint32_t> ReadIpv4(std::string_view text);

// The first quarter, for those who ask for an address by DHCP: the others are given by us.
std::string DhcpRange(const Subnet& subnet);

// Outside of the network's DHCP ranges while there is one, at random so that hosts rarely choose the same;
// nullopt when all are taken.
std::optional<uint32_t> PickFree(const Subnet& subnet, const Config& network,
                                 const std::set<uint32_t>& taken);

// What a bridge of ours is set to; without ipv4.address and ipv4.dhcp.ranges, which the engine's choice
// tells.
Config BridgeConfig(const std::string& acl, const std::string& installation);
// Those of `want` that `have` has otherwise or not at all.
Config Differences(const Config& have, const Config& want);

// note: kept in the list, to see later what it was written for. "": none.
std::string AclBody(const std::string& name, const std::string& installation, const std::string& note,
                    const std::vector<AddressRange>& rejected);
// Does the engine's list say what AclBody would, these ranges (or more: another host may see more) rejected?
bool AclHolds(const json::Value& acl, const std::string& note, const std::vector<AddressRange>& rejected);

// Of the answer to GET /1.0/networks/NAME/leases: the IPv4 addresses in it.
std::set<uint32_t> ReadLeases(const json::Value& metadata);
// Of the answer to GET /1.0/networks/NAME/state: the addresses beyond that machine's loopback.
std::vector<AddressRange> ReadAddresses(const json::Value& metadata);

}  // namespace csb::incus

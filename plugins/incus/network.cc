// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/network.h"

#include <thread>

#include "plugins/common/host_addresses.h"
#include "plugins/incus/engine_error.h"
#include "plugins/incus/engine_json.h"
#include "plugins/incus/limits.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// The machine's addresses come and go, and somebody may have changed what is ours.
constexpr auto kEnsureAgain = 10min;
constexpr auto kPickedFor = 3min;  // longer than a create takes
constexpr size_t kMostInterfaces = 256;
constexpr int kAttempts = 5;
constexpr milliseconds kPause{200}, kAwaitOther{10'000};

constexpr char kFirewallHint[] =
    "the engine enforces the list by nftables: is nft installed where it runs, and the kernel's nf_tables? "
    "incus.network=none needs neither";

// A network whose list can't be enforced is none for sandboxes.
Error NoBridge(Error error) {
  if (error.code == CSB_E_UNAVAILABLE && error.hint.empty()) error.hint = kFirewallHint;
  return error;
}

bool IsUnfinished(const NetworkInfo& network) {
  return network.status == "Pending" || network.status == "Errored";
}

std::string Setting(const Config& config, const char* key) {
  const auto at = config.find(key);
  return at == config.end() ? "" : at->second;
}

}  // namespace

bool IsAddressTaken(const Error& error) {
  return error.message.find("already defined on another NIC") != std::string::npos;
}

Networks::Networks(HostRef host, Engine& engine, const Options& options, const Names& names)
    : host_(host), engine_(engine), options_(options), names_(names) {}

Result<Attachment> Networks::Prepare(const Limits& limits) {
  Attachment out;
  if (limits.network == "none") return out;
  out.ours = limits.network == "bridge";
  out.network = out.ours ? names_.Bridge() : limits.network;
  const bool by_us = !options_.vm && options_.boot == Boot::kAgent;
  if (out.ours) {
    NetworkInfo bridge;
    {
      const std::lock_guard lock(ensuring_);
      if (ensured_ == Clock::time_point() || Clock::now() - ensured_ > kEnsureAgain)
        if (Status s = EnsureBridgeAmongOthers(); !s) return s.error();
      bridge = bridge_;
    }
    return by_us ? PickAddress(std::move(out), bridge) : Result<Attachment>(out);
  }
  auto network = engine_.Network(limits.network, kAskLimit);
  if (!network && network.error().code == CSB_E_NOT_FOUND)
    return Error{CSB_E_NOT_FOUND, "incus.network: the engine has no network " + limits.network,
                 "incus network list shows those it has; make it: incus network create " + limits.network +
                     "; or take incus.network=bridge",
                 false};
  if (!network) return network.error();
  return by_us ? PickAddress(std::move(out), *network) : Result<Attachment>(out);
}

Result<json::Document> Networks::Get(const std::string& path, const std::string& what) {
  auto answer = engine_.http().Call({.target = path, .timeout = kAskLimit});
  if (!answer) return TransportError(engine_.http().endpoint(), answer.error());
  if (answer->status >= 400) return EngineError(what, *answer);
  auto doc = json::ParseObject(answer->body);
  if (!doc) return Error{CSB_E_UNAVAILABLE, "cannot " + what + ": " + doc.error().message, "", false};
  const AnswerHead head = ReadHead(*doc);
  if (head.type == "error") return EngineError(what, head.code, head.error);
  return doc;
}

// ---- the bridge ----

Result<NetworkInfo> Networks::MakeBridge(const std::vector<AddressRange>& rejected) {
  const std::string name = names_.Bridge();
  auto found = engine_.Network(name, kAskLimit);
  if (!found && found.error().code != CSB_E_NOT_FOUND) return found;
  // In a cluster one that was begun, and failed on a member, is made by asking for it again.
  if (found && !IsUnfinished(*found)) return found;
  // First the list: without one there is no network either.
  if (Status s = EnsureAcl(Merge(rejected)); !s) return s.error();
  Config config = BridgeConfig(name, names_.installation());
  config["ipv4.address"] = "auto";
  const bool again = found && found->status == "Errored";
  const Status made = again ? FinishBridge() : engine_.CreateNetwork(name, config, kChangeLimit);
  if (made) host_.LogInfo("made the network " + name + " for sandboxes");
  // Of several hosts at once the engine lets one through, and has several words for that: what counts is what
  // is there. Nothing tells the end of another's create.
  for (milliseconds waited{0};; waited += kPause) {
    found = engine_.Network(name, kAskLimit);
    if (found && !IsUnfinished(*found)) return found;
    if (!made && (!found || waited >= kAwaitOther)) return NoBridge(made.error());
    if (waited >= kAwaitOther) return found;
    std::this_thread::sleep_for(kPause);
  }
}

// While another host process has the engine set the bridge's firewall up, a change of ours may meet it half
// made, and fail; nothing tells the end of that.
Status Networks::EnsureBridgeAmongOthers() {
  for (int attempt = 1;; ++attempt) {
    Status s = EnsureBridge();
    if (s || attempt == kAttempts || s.error().message.find("nft") == std::string::npos) return s;
    std::this_thread::sleep_for(kPause * attempt);
  }
}

// It has its settings then, and the engine takes no others.
Status Networks::FinishBridge() {
  const std::string name = names_.Bridge(), what = "create the network " + name + " where it is missing";
  auto answer = engine_.http().Call({.method = "POST",
                                     .target = engine_.WithProject("/1.0/networks"),
                                     .headers = {"Content-Type: application/json"},
                                     .body = NetworkBody(name, {}),
                                     .timeout = kChangeLimit});
  if (!answer) return TransportError(engine_.http().endpoint(), answer.error());
  return answer->status >= 400 ? Status(EngineError(what, *answer)) : Status();
}

Status Networks::EnsureBridge() {
  auto blocked = ReadRanges(options_.blocked_ranges);
  if (!blocked) return blocked.error();
  std::vector<AddressRange> rejected = *blocked;
  const auto own = MachineAddresses();
  rejected.insert(rejected.end(), own.begin(), own.end());
  auto network = MakeBridge(rejected);
  if (!network) return network.error();
  const std::string name = names_.Bridge();
  if (!network->managed || network->type != "bridge")
    return Error{CSB_E_CONFLICT,
                 "the network " + name + " is of type " + network->type + ", and not one of ours",
                 "something else took its name: rename that, or set another incus.installation", false};
  if (network->status != "Created")
    return Error{CSB_E_UNAVAILABLE, "the network " + name + " is " + network->status,
                 "incus network show " + name +
                     " tells more, and so does the engine's log; delete it, and it is "
                     "made anew",
                 true};
  if (!ReadSubnet(Setting(network->config, "ipv4.address"))) {
    if (Status s = engine_.PatchNetwork(name, {{"ipv4.address", "auto"}}, kChangeLimit); !s)
      return NoBridge(s.error());
    network = engine_.Network(name, kAskLimit);
    if (!network) return network.error();
  }
  const auto subnet = ReadSubnet(Setting(network->config, "ipv4.address"));
  if (!subnet)
    return Error{CSB_E_UNAVAILABLE, "the network " + name + " has no IPv4 addresses",
                 "incus network set " + name + " ipv4.address auto", false};
  // A neighbour's address is not to be reached by way of the bridge either, nor what else the bridge offers.
  rejected.push_back(subnet->range());
  if (Status s = EnsureAcl(Merge(std::move(rejected))); !s) return s;
  Config want = BridgeConfig(name, names_.installation());
  want["ipv4.dhcp.ranges"] = DhcpRange(*subnet);
  if (const Config differs = Differences(network->config, want); !differs.empty()) {
    if (Status s = engine_.PatchNetwork(name, differs, kChangeLimit); !s) return NoBridge(s.error());
    for (const auto& [key, value] : differs) network->config[key] = value;
  }
  bridge_ = *std::move(network);
  ensured_ = Clock::now();
  return {};
}

Status Networks::EnsureAcl(const std::vector<AddressRange>& rejected) {
  const std::string name = names_.Bridge();
  // Written only where it has to be: with a member of a cluster down the engine takes no change of it.
  auto there =
      Get(engine_.WithProject("/1.0/network-acls/" + UrlEscape(name)), "look at the access list " + name);
  const std::string note = "incus.blocked=" + options_.blocked_ranges;
  if (there && AclHolds(Metadata(*there), note, rejected)) return {};
  if (!there && there.error().code != CSB_E_NOT_FOUND) return there.error();
  // In two steps: a cluster that can't tell each member has the change in its database all the same, and in
  // no firewall. That it is everywhere is noted once it is.
  for (const std::string& noted : {std::string(), note})
    if (Status s = engine_.PutAcl(name, AclBody(name, names_.installation(), noted, rejected), kChangeLimit);
        !s)
      return NoBridge(s.error());
  return {};
}

std::vector<AddressRange> Networks::MachineAddresses() {
  std::vector<AddressRange> out;
  if (!engine_.http().endpoint().unix_socket.empty())
    if (auto local = ReadRanges(WithHostAddresses("")); local) out = *std::move(local);
  std::vector<std::string> targets;
  if (auto members = engine_.Members(kAskLimit); members)
    for (const MemberInfo& member : *members)
      if (member.online()) targets.push_back("&target=" + UrlEscape(member.name));
  if (targets.empty()) targets.emplace_back();
  for (const std::string& target : targets) {
    // Interfaces that are nobody's networks are shown in this project only.
    const std::string query = "?project=default" + target;
    auto listed = Get("/1.0/networks" + query + "&recursion=1", "list the machine's interfaces");
    if (!listed) {
      host_.LogWarn(
          "the machine's own addresses are not all known, and not in the list of what sandboxes can't "
          "reach: " +
          listed.error().message);
      continue;
    }
    const json::Value& networks = Metadata(*listed);
    if (!networks.IsArray()) continue;
    size_t count = 0;
    for (const json::Value& one : networks.GetArray()) {
      const NetworkInfo info = ReadNetwork(one);
      if (info.name.empty() || info.type == "loopback" || ++count > kMostInterfaces) continue;
      auto state = Get("/1.0/networks/" + UrlEscape(info.name) + "/state" + query, "look at " + info.name);
      if (!state) continue;  // gone meanwhile, or of a member that is
      const auto addresses = ReadAddresses(Metadata(*state));
      out.insert(out.end(), addresses.begin(), addresses.end());
    }
  }
  return out;
}

// ---- addresses ----

Result<Attachment> Networks::PickAddress(Attachment attachment, const NetworkInfo& network) {
  const auto subnet = ReadSubnet(Setting(network.config, "ipv4.address"));
  if (!network.managed || network.type != "bridge" || !subnet ||
      Setting(network.config, "ipv4.dhcp") == "false")
    return Error{
        CSB_E_INVALID,
        "incus.network: nobody can say which addresses of the network " + attachment.network + " are free",
        "with incus.boot=agent it must be a managed bridge with ipv4.address and DHCP; incus.boot=image "
        "has the image's own services ask for one",
        false};
  auto leases = Get(engine_.WithProject("/1.0/networks/" + UrlEscape(attachment.network) + "/leases"),
                    "list the addresses of the network " + attachment.network);
  if (!leases) return leases.error();
  std::set<uint32_t> taken = ReadLeases(Metadata(*leases));
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  std::erase_if(picked_, [&](const auto& one) { return now - one.second > kPickedFor; });
  for (const auto& [address, since] : picked_) taken.insert(address);
  const auto address = PickFree(*subnet, network.config, taken);
  if (!address)
    return Error{
        CSB_E_NO_CAPACITY, "all addresses of the network " + attachment.network + " are taken",
        "sandboxes that are stopped keep theirs: destroy some, or make its ipv4.address a larger range",
        true};
  picked_[*address] = now;
  attachment.address = Ipv4Text(*address);
  attachment.prefix = std::to_string(subnet->prefix);
  attachment.gateway = Ipv4Text(subnet->bridge);
  return attachment;
}

}  // namespace csb::incus

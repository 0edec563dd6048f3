// SPDX-License-Identifier: Apache-2.0
//
// What instances are made of and stand among: profiles, storage, images, networks, members.
#include <algorithm>

#include "plugins/incus/engine.h"
#include "plugins/incus/engine_error.h"
#include "plugins/incus/engine_impl.h"
#include "plugins/incus/engine_json.h"

namespace csb::incus {
namespace {

std::string ProfilePath(const std::string& name) { return "/1.0/profiles/" + UrlEscape(name); }
std::string PoolPath(const std::string& name) { return "/1.0/storage-pools/" + UrlEscape(name); }
std::string VolumesPath(const std::string& pool) { return PoolPath(pool) + "/volumes/custom"; }
std::string VolumePath(const std::string& pool, const std::string& name) {
  return VolumesPath(pool) + "/" + UrlEscape(name);
}
std::string MemberPath(const std::string& name) { return "/1.0/cluster/members/" + UrlEscape(name); }

// What PoolIn (engine_error.cc) finds the pool's name in.
std::string InPool(const std::string& pool) { return " in the pool \"" + pool + "\""; }

}  // namespace

// ---- profiles ----

Status Engine::CreateProfile(const std::string& name, const std::string& description, const Config& config,
                             Limit limit) {
  return impl_->Change("POST", "/1.0/profiles" + impl_->query, "create the profile " + name, limit,
                       ProfileBody(name, description, config));
}

Result<ProfileInfo> Engine::Profile(const std::string& name, Limit limit) {
  auto reply = impl_->Get(ProfilePath(name) + impl_->query, "look at the profile " + name, limit);
  if (!reply) return reply.error();
  ProfileInfo info = ReadProfile(reply->metadata());
  info.etag = reply->etag;
  return info;
}

Status Engine::ReplaceProfile(const ProfileInfo& profile, const std::string& description, Limit limit) {
  std::vector<std::string> headers;
  if (!profile.etag.empty()) headers.push_back("If-Match: " + profile.etag);
  return impl_->Change("PUT", ProfilePath(profile.name) + impl_->query, "change the profile " + profile.name,
                       limit, ProfileBody("", description, profile.config), std::move(headers));
}

Status Engine::DeleteProfile(const std::string& name, Limit limit) {
  return Gone(
      impl_->Change("DELETE", ProfilePath(name) + impl_->query, "delete the profile " + name, limit, ""));
}

Result<std::vector<ProfileInfo>> Engine::Profiles(const std::string& prefix, Limit limit) {
  return Map<std::vector<ProfileInfo>>(
      impl_->Get("/1.0/profiles" + impl_->query + "&recursion=1", "list profiles", limit),
      [&](const json::Value& metadata) { return ReadProfiles(metadata, prefix); });
}

// ---- storage ----

Result<PoolInfo> Engine::Pool(const std::string& name, Limit limit) {
  return Map<PoolInfo>(impl_->Get(PoolPath(name) + impl_->query, "look at the storage pool " + name, limit),
                       ReadPool);
}

Result<std::vector<PoolInfo>> Engine::Pools(Limit limit) {
  return Map<std::vector<PoolInfo>>(
      impl_->Get("/1.0/storage-pools" + impl_->query + "&recursion=1", "list storage pools", limit),
      ReadPools);
}

Status Engine::PoolSpace(PoolInfo* pool, const std::string& member, Limit limit) {
  auto reply = impl_->Get(PoolPath(pool->name) + "/resources" + impl_->query + TargetQuery(member),
                          "ask for the space" + InPool(pool->name), limit);
  if (!reply) return reply.error();
  ReadSpace(reply->metadata(), pool);
  return {};
}

Status Engine::CreateVolume(const std::string& pool, const std::string& name, const std::string& description,
                            const Config& config, const std::string& target, Limit limit) {
  return impl_->Change("POST", VolumesPath(pool) + impl_->query + TargetQuery(target),
                       "create the volume " + name + InPool(pool), limit,
                       VolumeBody(name, description, config));
}

Result<VolumeInfo> Engine::Volume(const std::string& pool, const std::string& name, const std::string& member,
                                  Limit limit) {
  return Map<VolumeInfo>(impl_->Get(VolumePath(pool, name) + impl_->query + TargetQuery(member),
                                    "look at the volume " + name + InPool(pool), limit),
                         ReadVolume);
}

Status Engine::PatchVolume(const std::string& pool, const std::string& name, const std::string& member,
                           const Config& config, Limit limit) {
  return impl_->Change("PATCH", VolumePath(pool, name) + impl_->query + TargetQuery(member),
                       "change the volume " + name, limit, ConfigBody(config));
}

Status Engine::DeleteVolume(const std::string& pool, const std::string& name, const std::string& member,
                            Limit limit) {
  return Gone(impl_->Change("DELETE", VolumePath(pool, name) + impl_->query + TargetQuery(member),
                            "delete the volume " + name + InPool(pool), limit, ""));
}

Result<std::vector<VolumeInfo>> Engine::Volumes(const std::string& pool, const std::string& prefix,
                                                Limit limit) {
  return Map<std::vector<VolumeInfo>>(
      impl_->Get(VolumesPath(pool) + impl_->query + "&recursion=1", "list the volumes" + InPool(pool), limit),
      [&](const json::Value& metadata) { return ReadVolumes(metadata, prefix); });
}

Status Engine::CopyVolume(const std::string& pool, const std::string& name, const std::string& description,
                          const Config& config, const std::string& from, const std::string& to, Limit limit) {
  return impl_->Change("POST", VolumesPath(pool) + impl_->query + TargetQuery(to),
                       "copy the volume " + name + " from " + from + " to " + to, limit,
                       CopyBody(pool, name, description, config, from));
}

// ---- images ----

Result<ImageInfo> Engine::Image(const std::string& name, const std::string& type, Limit limit) {
  auto reply = impl_->Get("/1.0/images" + impl_->query + "&recursion=1", "look for the image " + name, limit);
  if (!reply) return reply.error();
  const auto found = FindImages(reply->metadata(), name);
  for (const ImageInfo& image : found)
    if (image.type == type) return image;
  if (found.empty())
    return Error{CSB_E_NOT_FOUND, "the server has no image " + name,
                 "incus image list shows those it has; to get one: incus image copy images:debian/12/cloud "
                 "local: --alias " +
                     name + (type == "virtual-machine" ? " --vm" : ""),
                 false};
  return Error{CSB_E_NOT_FOUND,
               "the image " + name + " is of type " + found.front().type + "; " + type + " is wanted",
               "incus image list tells the type of each", false};
}

Result<ImageInfo> Engine::CachedImage(const std::string& server, const std::string& alias,
                                      const std::string& type, Limit limit) {
  auto reply =
      impl_->Get("/1.0/images" + impl_->query + "&recursion=1", "look for the image " + alias, limit);
  if (!reply) return reply.error();
  for (const ImageInfo& image : FindCached(reply->metadata(), server, alias))
    if (image.type == type) return image;
  return Error{CSB_E_NOT_FOUND, "the server has not fetched " + alias + " from " + server, "", false};
}

Result<std::string> Engine::WhyNoMachines(Limit limit) {
  return Map<std::string>(
      impl_->Get("/1.0/warnings?recursion=1", "ask for the server's warnings", limit),
      [](const json::Value& metadata) { return FindWarning(metadata, "Instance type not operational"); });
}

// ---- networks ----

Result<NetworkInfo> Engine::Network(const std::string& name, Limit limit) {
  return Map<NetworkInfo>(
      impl_->Get("/1.0/networks/" + UrlEscape(name) + impl_->query, "look at the network " + name, limit),
      ReadNetwork);
}

Status Engine::CreateNetwork(const std::string& name, const Config& config, Limit limit) {
  const Deadline deadline(limit);
  const std::string what = "create the network " + name;
  auto members = Members(deadline.left());
  if (!members) return members.error();
  // In a cluster each member is told first; that it was told before is no error.
  for (const MemberInfo& member : *members) {
    Status told =
        impl_->Change("POST", "/1.0/networks" + impl_->query + TargetQuery(member.name),
                      what + " on the member " + member.name, deadline.left(), NetworkBody(name, {}));
    if (!told && told.error().code != CSB_E_CONFLICT) return told;
  }
  return impl_->Change("POST", "/1.0/networks" + impl_->query, what, deadline.left(),
                       NetworkBody(name, config));
}

Status Engine::PatchNetwork(const std::string& name, const Config& config, Limit limit) {
  return impl_->Change("PATCH", "/1.0/networks/" + UrlEscape(name) + impl_->query,
                       "change the network " + name, limit, ConfigBody(config));
}

Status Engine::PutAcl(const std::string& name, const std::string& body, Limit limit) {
  const Deadline deadline(limit);
  const std::string what = "write the network's access list " + name;
  const std::string one = "/1.0/network-acls/" + UrlEscape(name) + impl_->query;
  Status put = impl_->Change("PUT", one, what, deadline.left(), body);
  if (put || put.error().code != CSB_E_NOT_FOUND) return put;
  Status made = impl_->Change("POST", "/1.0/network-acls" + impl_->query, what, deadline.left(), body);
  if (made || made.error().code != CSB_E_CONFLICT) return made;
  // Another host process was faster.
  return impl_->Change("PUT", one, what, deadline.left(), body);
}

// ---- cluster ----

Result<std::vector<MemberInfo>> Engine::Members(Limit limit) {
  const Deadline deadline(limit);
  auto info = Info(deadline.left());
  if (!info) return info.error();
  if (!info->clustered) return std::vector<MemberInfo>();
  return Map<std::vector<MemberInfo>>(
      impl_->Get("/1.0/cluster/members?recursion=1", "list the members of the cluster", deadline.left()),
      ReadMembers);
}

Result<MemberLoad> Engine::Load(const std::string& member, Limit limit) {
  const Deadline deadline(limit);
  // The server knows who is down; asking the member itself would take until a connect to it fails.
  auto known = impl_->Get(MemberPath(member), "look at the member " + member, deadline.left());
  if (!known) return known.error();
  if (const MemberInfo info = ReadMember(known->metadata()); info.status == "Offline")
    return Error{CSB_E_UNAVAILABLE, "the member " + member + " is down: " + info.message,
                 "incus cluster list shows it", true};
  return Map<MemberLoad>(
      impl_->Get(MemberPath(member) + "/state", "ask for the load of the member " + member, deadline.left()),
      ReadLoad);
}

}  // namespace csb::incus

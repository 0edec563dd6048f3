// SPDX-License-Identifier: Apache-2.0
//
// What an Incus server may answer or tell in an event, goes to every reader. Bounds that callers rely on must
// hold whatever comes: nothing that stands in a request's path is anything but a plain name.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugins/incus/engine_error.h"
#include "plugins/incus/engine_json.h"

namespace {

using namespace csb;         // NOLINT: a test program
using namespace csb::incus;  // NOLINT

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckOperation(const json::Value& value) {
  const OperationInfo op = ReadOperation(value);
  Check(op.id.empty() || IsUuid(op.id));
  for (const std::string& file : {op.out, op.err})
    Check(file.empty() || (IsFileName(file) && UrlEscape(file) == file));
  Check(op.status >= 0 && (!op.exit_code || (*op.exit_code >= -1 && *op.exit_code <= 255)));
}

void Readers(const json::Value& value) {
  CheckOperation(value);
  const LifecycleInfo event = ReadLifecycle(value);
  Check(event.name.empty() || IsFileName(event.name));
  const ServerInfo server = ReadServer(value);
  Check(server.clustered || server.name == "none");
  (void)ReadInstance(value);
  for (const InstanceInfo& i : ReadInstances(value)) Check(!i.name.empty() && i.name.size() <= 4096);
  const InstanceState state = ReadState(value);
  Check(state.pid >= 0 && state.processes >= -1);
  for (const ProfileInfo& p : ReadProfiles(value, "clara-")) Check(p.name.starts_with("clara-"));
  for (const VolumeInfo& v : ReadVolumes(value, "clara-")) Check(v.name.starts_with("clara-"));
  (void)ReadPools(value);
  PoolInfo pool = ReadPool(value);
  ReadSpace(value, &pool);
  for (const ImageInfo& i : FindImages(value, "debian")) Check(!i.fingerprint.empty());
  Check(FindImages(value, "").empty());
  (void)FindCached(value, "https://images", "debian/12");
  (void)FindWarning(value, "x");
  (void)ReadNetwork(value);
  for (const MemberInfo& m : ReadMembers(value)) Check(!m.name.empty());
  const MemberLoad load = ReadLoad(value);
  Check(std::isfinite(load.load) && load.load >= 0 && load.memory_free <= load.memory_total);
  // What was read can be written and read again.
  const Config config = ReadConfig(value, "config");
  for (const std::string& body : {ConfigBody(config), ProfileBody("n", "d", config),
                                  VolumeBody("n", "d", config), NetworkBody("n", config)}) {
    const auto again = json::Parse(body);
    Check(again && ReadConfig(*again, "config") == config);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const Error error = EngineError("do it", {.status = 500, .content_type = "", .etag = "", .body = text});
  Check(error.message.size() < 700 && error.hint.size() < 900);
  for (const char c : error.message) Check(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  if (auto doc = json::Parse(text)) {
    Check(ReadHead(*doc).code >= 0);
    Readers(*doc);
    Readers(Metadata(*doc));
  }
  return 0;
}

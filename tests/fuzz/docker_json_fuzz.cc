// SPDX-License-Identifier: Apache-2.0
//
// What an engine, a container's report or a line of its events may say: the first byte chooses how a stream
// is cut into pieces, the rest goes to every reader. Bounds that callers rely on must hold whatever comes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "plugins/common/host_cgroup.h"
#include "plugins/common/readback.h"
#include "plugins/docker/engine_json.h"

namespace {

using namespace csb;          // NOLINT: a test program
using namespace csb::docker;  // NOLINT

void Check(bool holds) {
  if (!holds) std::abort();
}

void Readers(const json::Value& doc) {
  EngineInfo info;
  ReadVersion(doc, &info);
  ReadInfo(doc, &info);
  ReadImage(doc);
  const ContainerInfo container = ReadContainer(doc);
  Check(container.pid >= 0 && container.cpu >= 0 && container.id.size() <= 4096);
  for (const ListedContainer& c : ReadContainers(doc)) Check(IsId(c.id));
  ReadVolumes(doc);
  ReadRootCommands(doc);
  const Usage usage = ReadUsage(doc);
  Check(usage.known || usage.memory == 0);
  const Labels labels = ReadLabels(doc, "Labels");
  // What was read can be written and read again.
  const auto again = json::Parse(VolumeBody("v", labels, 1));
  Check(again && ReadLabels(*again, "Labels") == labels);
  (void)CheckBridge(doc, "n");
  const Limits limits = ReadLimits(doc);
  json::Buffer buffer;
  json::Writer writer(buffer);
  WriteLimits(writer, limits);
  Check(static_cast<bool>(json::Parse({buffer.GetString(), buffer.GetSize()})));
}

// The values that come out, and the words of a pull.
std::string Stream(std::string_view text, size_t piece) {
  std::string values, words;
  JsonLines lines([&](const json::Value& value) {
    Check(value.IsObject());
    values += json::ToString(value) + "\n";
  });
  PullReader pull([&](const std::string& said) {
    Check(said.size() <= 2048);
    for (const char c : said) Check(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
    words += said + "\n";
  });
  while (!text.empty()) {
    const std::string_view part = text.substr(0, piece);
    Check(lines.Take(part) == pull.Take(part));
    text.remove_prefix(part.size());
  }
  return values + words + pull.error();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (auto doc = json::Parse(text)) Readers(*doc);
  for (const bool blocked : {false, true}) {
    auto enforced = EnforcedOf(text, {.limits = {.memory = 1, .disk = 1 << 20}, .blocked = blocked});
    if (!enforced) continue;
    json::Buffer buffer;
    json::Writer writer(buffer);
    WriteEnforced(writer, *enforced);
    Check(static_cast<bool>(json::Parse({buffer.GetString(), buffer.GetSize()})));
  }
  // In one piece and in many the same comes out.
  Check(Stream(text, text.size() + 1) == Stream(text, data[0] % 64u + 1));
  const size_t half = text.find('|');
  if (half == std::string_view::npos) return 0;
  for (const char* controller : {"memory", "cpu"}) {
    int version = 0;
    const std::string folder = FindGroup(text.substr(0, half), text.substr(half + 1), controller, &version);
    Check(folder.empty() || version == 1 || version == 2);
  }
  return 0;
}

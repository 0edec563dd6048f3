// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/engine_json.h"

#include <gmock/gmock.h>

#include "plugins/common/json_testing.h"

namespace csb::docker {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// Answers of Docker 20.10.24, shortened.
constexpr char kVersion[] =
    R"({"Platform":{"Name":""},"Components":[{"Name":"Engine","Version":"20.10.24+dfsg1",
  "Details":{"ApiVersion":"1.41","MinAPIVersion":"1.12"}},{"Name":"runc","Version":"1.1.5+ds1"}],
  "Version":"20.10.24+dfsg1","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"})";
constexpr char kInfo[] = R"({"ID":"K7PH:NXFQ:WEEG","Containers":2,"Driver":"overlay2","MemoryLimit":true,
  "SwapLimit":true,"CpuCfsPeriod":true,"CpuCfsQuota":true,"PidsLimit":true,"CgroupDriver":"cgroupfs",
  "CgroupVersion":"1","DockerRootDir":"/var/lib/docker","Runtimes":{"io.containerd.runc.v2":{"path":"runc"},
  "runc":{"path":"runc"}},"DefaultRuntime":"runc","SecurityOptions":["name=seccomp,profile=default"],
  "Warnings":null})";
constexpr char kImage[] = R"({"Id":"sha256:0b2af696c5605602dee50c77cc06bbeece1ca8086e32e697943530d07a331f67",
  "RepoTags":["clara-sandbox-test:latest"],"ContainerConfig":{"Env":null},"Config":{"User":"",
  "Env":["PATH=/usr/local/bin:/usr/bin:/bin","LANG=C.UTF-8"],"Cmd":["python3"],"WorkingDir":"/workspace"},"Size":147980525})";
constexpr char kContainer[] = R"({"Id":"53e338932a18218725900dba4989f7ecb4d539b4af3878e716942fa6b9032c86",
  "Created":"2026-11-27T00:33:01.9Z","Path":"/run/clara/agent","State":{"Status":"running","Running":true,
  "Paused":false,"OOMKilled":false,"Dead":false,"Pid":21384,"ExitCode":0,"Error":"",
  "StartedAt":"2026-11-27T00:33:02.2Z","FinishedAt":"0001-01-01T00:00:00Z"},
  "Image":"sha256:0b2af696c560","Name":"/clara-bc3e24af-eve-85262adf74518bbb70c7cb94cd6159d9",
  "HostConfig":{"NetworkMode":"clara-bc3e24af-bridge","Memory":536870912,"MemorySwap":536870912,
  "NanoCpus":1500000000,"PidsLimit":264,"Runtime":"runc"},
  "Mounts":[{"Type":"bind","Source":"/opt/agent","Destination":"/run/clara/agent","RW":false},
  {"Type":"volume","Name":"clara-bc3e24af-pool-6dc12436-0","Source":"/var/lib/docker/volumes/v/_data",
  "Destination":"/workspace","Driver":"local","RW":true}],
  "Config":{"Hostname":"sandbox","User":"0:0","Image":"clara-sandbox-test:latest","Labels":{
  "clara-sandbox.kind":"pool","clara-sandbox.slot":"pool-6dc12436-0"}}})";
constexpr char kContainers[] = R"([{"Id":"53e338932a18","Names":["/clara-bc3e24af-eve-85"],"State":"running",
  "Status":"Up About a minute","Labels":{"clara-sandbox.kind":"pool"},
  "Mounts":[{"Type":"bind","Source":"/opt/agent","Destination":"/run/clara/agent"},
  {"Type":"volume","Name":"clara-bc3e24af-pool-6dc12436-0","Destination":"/workspace"}]},
  {"Id":"d4bbee84df6f","Names":["/other"],"State":"exited","Labels":{},"Mounts":[]}])";
constexpr char kVolumes[] = R"({"Volumes":[{"CreatedAt":"2026-11-27T00:31:32Z","Driver":"local",
  "Labels":{"clara-sandbox.user":"alice"},"Name":"clara-f77ecd64-alice-2b","Options":null,"Scope":"local"},
  {"Driver":"local","Labels":null,"Name":"plain"}],"Warnings":null})";
constexpr char kStats[] = R"({"read":"2026-11-27T00:40:00Z","pids_stats":{"current":3,"limit":264},
  "cpu_stats":{"cpu_usage":{"total_usage":51234567,"usage_in_usermode":1},"online_cpus":2},
  "memory_stats":{"usage":9433088,"max_usage":9900000,"stats":{"inactive_file":1,"total_inactive_file":1044480},
  "limit":536870912}})";

TEST(EngineJson, ReadsWhatAnEngineSays) {
  EngineInfo info;
  ReadVersion(Json(kVersion), &info);
  EXPECT_EQ(info.version, "20.10.24+dfsg1");
  EXPECT_EQ(info.name, "Docker");
  ReadInfo(Json(kInfo), &info);
  EXPECT_EQ(info.id, "K7PH:NXFQ:WEEG");
  EXPECT_EQ(info.storage, "overlay2");
  EXPECT_EQ(info.default_runtime, "runc");
  EXPECT_THAT(info.runtimes, ElementsAre("io.containerd.runc.v2", "runc"));
  EXPECT_TRUE(info.memory && info.cpu && info.pids);
  EXPECT_EQ(info.cgroup_version, 1);
  EXPECT_FALSE(info.rootless || info.userns_remap);
}

TEST(EngineJson, KnowsPodmanAndEnginesWithoutRoot) {
  EngineInfo info;
  ReadVersion(Json(R"({"Components":[{"Name":"Podman Engine","Version":"4.3.1"}],"Version":"4.3.1"})"),
              &info);
  EXPECT_EQ(info.name, "Podman");
  ReadInfo(
      Json(R"({"SecurityOptions":["name=seccomp,profile=default","name=rootless"],"CgroupVersion":"2"})"),
      &info);
  EXPECT_TRUE(info.rootless);
  EXPECT_EQ(info.cgroup_version, 2);
  EngineInfo remapped;
  ReadInfo(Json(R"({"SecurityOptions":["name=userns"]})"), &remapped);
  EXPECT_TRUE(remapped.userns_remap);
  EXPECT_FALSE(remapped.memory) << "a limit that is not said to hold does not";
}

TEST(EngineJson, ReadsAnImage) {
  const ImageInfo image = ReadImage(Json(kImage));
  EXPECT_EQ(image.id, "sha256:0b2af696c5605602dee50c77cc06bbeece1ca8086e32e697943530d07a331f67");
  EXPECT_THAT(image.env, ElementsAre("PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"));
}

TEST(EngineJson, ReadsAContainer) {
  const ContainerInfo c = ReadContainer(Json(kContainer));
  EXPECT_EQ(c.id, "53e338932a18218725900dba4989f7ecb4d539b4af3878e716942fa6b9032c86");
  EXPECT_EQ(c.name, "clara-bc3e24af-eve-85262adf74518bbb70c7cb94cd6159d9");
  EXPECT_TRUE(c.alive());
  EXPECT_EQ(c.pid, 21384);
  EXPECT_EQ(c.memory, 536870912u);
  EXPECT_EQ(c.cpu, 1.5);
  EXPECT_EQ(c.pids, 264u);
  EXPECT_EQ(c.network, "clara-bc3e24af-bridge");
  EXPECT_EQ(c.workspace_volume, "clara-bc3e24af-pool-6dc12436-0");
  EXPECT_EQ(c.image, "clara-sandbox-test:latest");
  EXPECT_THAT(c.labels, Contains(Pair("clara-sandbox.slot", "pool-6dc12436-0")));
  const ContainerInfo folder = ReadContainer(Json(
      R"({"Config":{"NetworkDisabled":true},"HostConfig":{"NetworkMode":"default"},"Mounts":[{"Type":"bind",
      "Name":"no","Source":"/data/alice","Destination":"/workspace"}],"State":{"Status":"exited"}})"));
  EXPECT_EQ(folder.workspace_volume, "");
  EXPECT_EQ(folder.workspace_source, "/data/alice");
  EXPECT_EQ(folder.network, "none");
  EXPECT_FALSE(folder.alive());
}

TEST(EngineJson, OnlyTheStatesThatHoldAProcessAreAlive) {
  for (const char* status :
       {"running", "paused", "restarting", "created", "removing", "exited", "dead", ""}) {
    const std::string_view s(status);
    EXPECT_EQ(ContainerInfo{.status = status}.alive(), s == "running" || s == "paused" || s == "restarting")
        << status;
  }
}

TEST(EngineJson, ReadsLists) {
  const auto containers = ReadContainers(Json(kContainers));
  ASSERT_EQ(containers.size(), 2u);
  EXPECT_EQ(containers[0].name, "clara-bc3e24af-eve-85");
  EXPECT_EQ(containers[0].status, "running");
  EXPECT_THAT(containers[0].volumes, ElementsAre("clara-bc3e24af-pool-6dc12436-0"));
  EXPECT_THAT(containers[1].volumes, IsEmpty());
  const auto volumes = ReadVolumes(Json(kVolumes));
  ASSERT_EQ(volumes.size(), 2u);
  EXPECT_THAT(volumes[0].labels, ElementsAre(Pair("clara-sandbox.user", "alice")));
  EXPECT_THAT(volumes[1].labels, IsEmpty());
  EXPECT_THAT(ReadVolumes(Json(R"({"Volumes":null})")), IsEmpty()) << "what an engine without volumes says";
}

TEST(EngineJson, UseLeavesOutCaches) {
  const Usage v1 = ReadUsage(Json(kStats));
  EXPECT_TRUE(v1.known);
  EXPECT_EQ(v1.memory, 9433088u - 1044480u);
  EXPECT_EQ(v1.cpu_ns, 51234567u);
  const Usage v2 = ReadUsage(Json(R"({"memory_stats":{"usage":100,"stats":{"inactive_file":30}}})"));
  EXPECT_EQ(v2.memory, 70u);
  // More cache than use: a race of the kernel's counters, not 2^64 bytes.
  EXPECT_EQ(ReadUsage(Json(R"({"memory_stats":{"usage":10,"stats":{"inactive_file":30}}})")).memory, 0u);
  // A stopped container's.
  EXPECT_FALSE(ReadUsage(Json(R"({"memory_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":0}}})")).known);
}

void ReadAll(const json::Value& doc) {
  EngineInfo info;
  ReadVersion(doc, &info);
  ReadInfo(doc, &info);
  ReadImage(doc);
  const ContainerInfo container = ReadContainer(doc);
  EXPECT_GE(container.pid, 0);
  for (const ListedContainer& c : ReadContainers(doc)) EXPECT_TRUE(IsId(c.id));
  ReadVolumes(doc);
  ReadUsage(doc);
  ReadLabels(doc, "Labels");
  (void)CheckBridge(doc, "x");
}

// Every member that a reader looks at, with every kind of value in its place.
TEST(EngineJson, AnyValueAnywhereIsSurvived) {
  for (const char* real : {kVersion, kInfo, kImage, kContainer, kContainers, kVolumes, kStats}) {
    for (const std::string_view hostile : kHostileJson) {
      ReadAll(Json(hostile));
      std::vector<std::vector<std::string>> todo = {{}};
      while (!todo.empty()) {
        const auto path = todo.back();
        todo.pop_back();
        json::Document doc = Json(real);
        json::Value* at = doc.IsArray() ? &doc[0] : &doc;
        for (const std::string& step : path) {
          at = &(*at)[step.c_str()];
          if (at->IsArray() && !at->Empty() && (*at)[0].IsObject()) at = &(*at)[at->Size() - 1];
        }
        if (at->IsObject())
          for (const auto& member : at->GetObject()) {
            todo.push_back(path);
            todo.back().emplace_back(member.name.GetString());
          }
        at->CopyFrom(Json(hostile), doc.GetAllocator());
        ReadAll(doc);
      }
    }
  }
}

TEST(EngineJson, NumbersStayWithinTheirTypes) {
  const ContainerInfo c = ReadContainer(Json(
      R"({"State":{"Pid":99999999999,"ExitCode":"1"},"HostConfig":{"Memory":-1,"NanoCpus":1e300,"PidsLimit":-1}})"));
  EXPECT_EQ(c.pid, INT32_MAX);
  EXPECT_EQ(c.memory, 0u);
  EXPECT_EQ(c.cpu, 0.0);
  EXPECT_EQ(c.pids, 0u) << "-1 is unlimited, as the engine says it";
  EXPECT_EQ(ReadContainer(Json(R"({"State":{"Pid":-7}})")).pid, 0);
  EXPECT_EQ(ReadUsage(Json(R"({"memory_stats":{"usage":1.5e9}})")).memory, 1500000000u);
}

TEST(EngineJson, LongTextIsCut) {
  const std::string text(1 << 20, 'x');
  EXPECT_LE(ReadContainer(Json(R"({"Name":")" + text + "\"}")).name.size(), 4096u);
  EXPECT_THAT(ReadContainers(Json(R"([{"Id":")" + text + "\"}]")), IsEmpty());
}

TEST(EngineJson, AnIdIsLettersAndDigits) {
  EXPECT_TRUE(IsId("53e338932a18218725900dba4989f7ecb4d539b4af3878e716942fa6b9032c86"));
  for (const char* bad : {"", "a/b", "..", "a?b", "a b", "é", "a\nb"}) EXPECT_FALSE(IsId(bad)) << bad;
  EXPECT_FALSE(IsId(std::string(65, 'a')));
}

TEST(EngineJson, ABridgeMustKeepItsContainersApart) {
  EXPECT_TRUE(CheckBridge(Json(R"({"Options":{"com.docker.network.bridge.enable_icc":"false"}})"), "n"));
  for (const char* bad :
       {R"({"Options":{"com.docker.network.bridge.enable_icc":"true"}})", R"({"Options":{}})",
        R"({"Options":null})", "{}", "[]", R"({"Options":{"com.docker.network.bridge.enable_icc":false}})"}) {
    const Status s = CheckBridge(Json(bad), "clara-1f-bridge");
    ASSERT_FALSE(s) << bad;
    EXPECT_EQ(s.error().code, CSB_E_CONFLICT);
    EXPECT_THAT(s.error().hint, HasSubstr("docker network rm clara-1f-bridge"));
  }
  const json::Document made = Json(NetworkBody("clara-1f-bridge", {{"a", "b"}}));
  EXPECT_TRUE(CheckBridge(made, "n")) << "what we make has to pass";
  EXPECT_STREQ(made["Labels"]["a"].GetString(), "b");
}

TEST(EngineJson, AVolumeHasItsLabelsAndSize) {
  const json::Document plain = Json(VolumeBody("v", {{"clara-sandbox.user", "a\"b"}}, 0));
  EXPECT_STREQ(plain["Name"].GetString(), "v");
  EXPECT_STREQ(plain["Labels"]["clara-sandbox.user"].GetString(), "a\"b");
  EXPECT_FALSE(plain.HasMember("DriverOpts"));
  EXPECT_STREQ(Json(VolumeBody("v", {}, 1 << 30))["DriverOpts"]["size"].GetString(), "1073741824");
}

TEST(JsonLines, ComeInAnyPieces) {
  const std::string text = "{\"n\":1}\r\n\n{\"n\":2}\nnot json\n[3]\n{\"n\":\"\xC3\xA9\"}\n{\"n\":4";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    std::vector<std::string> seen;
    JsonLines lines([&](const json::Value& v) { seen.push_back(json::ToString(v)); });
    for (size_t at = 0; at < text.size(); at += piece) ASSERT_TRUE(lines.Take(text.substr(at, piece)));
    EXPECT_THAT(seen, ElementsAre(R"({"n":1})", R"({"n":2})", "{\"n\":\"\xC3\xA9\"}")) << piece;
    ASSERT_TRUE(lines.Take("}\n"));
    EXPECT_THAT(seen, Contains(R"({"n":4})")) << "the last line waits for its end";
  }
}

TEST(JsonLines, ALineWithoutAnEndIsRefused) {
  int values = 0;
  JsonLines lines([&](const json::Value&) { ++values; });
  const std::string piece(100'000, ' ');
  size_t taken = 0;
  while (taken <= JsonLines::kMaxLine && lines.Take(piece)) taken += piece.size();
  EXPECT_LE(taken, JsonLines::kMaxLine);
  EXPECT_GT(taken, JsonLines::kMaxLine - 2 * piece.size());
  // As much in lines that end is nothing special.
  JsonLines shorter([&](const json::Value&) { ++values; });
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(shorter.Take(piece + "{}\n"));
  EXPECT_EQ(values, 30);
}

class PullReaderTest : public ::testing::Test {
 protected:
  std::vector<std::string> said_;
  PullReader reader_{[this](const std::string& line) { said_.push_back(line); }};
};

TEST_F(PullReaderTest, TellsChangesOnly) {
  ASSERT_TRUE(reader_.Take(R"({"status":"Pulling from library/python","id":"3.12-slim"}
{"status":"Downloading","progressDetail":{"current":1,"total":100},"progress":"[>  ]","id":"a1"}
{"status":"Downloading","progressDetail":{"current":50,"total":100},"id":"a1"}
{"status":"Pull complete","progressDetail":{},"id":"a1"}
{"status":"Status: Downloaded newer image for python:3.12-slim"}
)"));
  EXPECT_THAT(said_, ElementsAre("3.12-slim: Pulling from library/python", "a1: Downloading",
                                 "a1: Pull complete", "Status: Downloaded newer image for python:3.12-slim"));
  EXPECT_EQ(reader_.error(), "");
}

TEST_F(PullReaderTest, KeepsTheError) {
  ASSERT_TRUE(reader_.Take(R"({"status":"Pulling fs layer","id":"a1"}
{"errorDetail":{"message":"toomanyrequests"},"error":"toomanyrequests: slow down"}
)"));
  EXPECT_EQ(reader_.error(), "toomanyrequests: slow down");
}

TEST_F(PullReaderTest, NothingOfARegistryMovesATerminalsCursor) {
  ASSERT_TRUE(
      reader_.Take("{\"status\":\"\\u001b[2J\\u0007x\",\"id\":\"\\u001b]0;t\\u0007\"}\n"
                   "{\"error\":\"no\\r\\u001b[31m\\u009b\"}\n"));
  ASSERT_EQ(said_.size(), 1u);
  for (const std::string& text : {said_[0], reader_.error()})
    for (const char c : text) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << text;
  EXPECT_THAT(reader_.error(), HasSubstr("no"));
}

TEST_F(PullReaderTest, SaysWhenALineHasNoEnd) {
  EXPECT_FALSE(reader_.overlong());
  EXPECT_FALSE(reader_.Take(std::string(JsonLines::kMaxLine + 1, 'x')));
  EXPECT_TRUE(reader_.overlong());
}

TEST(ReadRootCommandsTest, ThoseOfTheInitsUid) {
  const auto doc = json::Parse(R"({"Titles":["PID","UID","COMMAND"],"Processes":[
      ["10","2000000","/run/clara/bin/clara-sandbox-agent --control /run/clara/ctl"],
      ["11","2000000","/run/clara/bin/clara-sandbox-agent --connect /run/clara/ctl --host-id host-1"],
      ["12","2001000","clara-sandbox-agent --connect /fake"], ["13"], 7, [1,2,3]]})");
  ASSERT_TRUE(doc);
  EXPECT_THAT(ReadRootCommands(*doc), ElementsAre(HasSubstr("--control"), HasSubstr("--host-id host-1")));
  for (const char* other : {"{}", "[]", R"({"Processes":{}})", R"({"Processes":null})"})
    EXPECT_TRUE(ReadRootCommands(*json::Parse(other)).empty()) << other;
}

}  // namespace
}  // namespace csb::docker

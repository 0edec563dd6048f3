// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/engine_json.h"

#include <gmock/gmock.h>

namespace csb::incus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kId[] = "6916c8a6-9b7d-4abd-90b3-aedfec7ec7da";

json::Document Json(std::string_view text) {
  auto doc = json::Parse(text);
  EXPECT_TRUE(doc) << text;
  return doc ? *std::move(doc) : json::Document();
}

TEST(EngineJsonTest, OnlyAUuidIsOne) {
  EXPECT_TRUE(IsUuid(kId));
  for (const char* text : {"", "6916c8a6-9b7d-4abd-90b3-aedfec7ec7d", "6916c8a6-9b7d-4abd-90b3-aedfec7ec7daa",
                           "6916C8A6-9b7d-4abd-90b3-aedfec7ec7da", "6916c8a6-9b7d-4abd-90b3/aedfec7ec7da",
                           "6916c8a6-9b7d-4abd-90b3-../../1.0/xx", "6916c8a69-b7d-4abd-90b3-aedfec7ec7da"})
    EXPECT_FALSE(IsUuid(text)) << text;
}

TEST(EngineJsonTest, OnlyAFilesNameIsOne) {
  EXPECT_TRUE(IsFileName("exec_6916c8a6-9b7d.stdout"));
  for (const std::string& text : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                  std::string("a?b"), std::string("a%2fb"), std::string(129, 'a')})
    EXPECT_FALSE(IsFileName(text)) << text;
}

TEST(EngineJsonTest, AnOperation) {
  const auto doc = Json(R"({"type":"sync","metadata":{"id":")" + std::string(kId) +
                        R"(","status_code":200,"err":"","location":"m2","metadata":{"return":3,"output":{
      "1":"/1.0/instances/m1/logs/exec-output/exec_a.stdout?project=p",
      "2":"/1.0/instances/m1/logs/exec-output/exec_a.stderr"}}}})");
  EXPECT_EQ(ReadHead(doc).type, "sync");
  const OperationInfo op = ReadOperation(Metadata(doc));
  EXPECT_EQ(op.id, kId);
  EXPECT_TRUE(op.ended());
  EXPECT_FALSE(op.failed());
  EXPECT_EQ(op.location, "m2");
  EXPECT_EQ(op.exit_code, 3);
  EXPECT_EQ(op.out, "exec_a.stdout");
  EXPECT_EQ(op.err, "exec_a.stderr");
}

TEST(EngineJsonTest, AnOperationThatLies) {
  for (const char* text :
       {"null", "[]", "7", "{}", R"({"id":7})", R"({"id":"../../1.0/instances"})", R"({"id":null})",
        R"({"metadata":[]})", R"({"metadata":{"return":"0","output":[]}})",
        R"({"metadata":{"return":1e99,"output":{"1":7,"2":null}}})",
        R"({"metadata":{"return":99999999999,"output":{"1":"/logs/..","2":"/logs/a%2fb"}}})",
        R"({"metadata":{"return":-2,"output":{"1":"no-slash","2":"/"}}})"}) {
    const OperationInfo op = ReadOperation(Json(text));
    EXPECT_EQ(op.id, "") << text;
    EXPECT_FALSE(op.exit_code) << text;
    EXPECT_EQ(op.out + op.err, "") << text;
    EXPECT_FALSE(op.ended()) << text;
  }
  EXPECT_TRUE(ReadOperation(Json(R"({"status_code":400})")).failed());
  EXPECT_TRUE(ReadOperation(Json(R"({"status_code":401})")).failed());
  EXPECT_TRUE(ReadOperation(Json(R"({"status_code":200,"err":"no"})")).failed());
  EXPECT_FALSE(ReadOperation(Json(R"({"status_code":103})")).ended());
}

TEST(EngineJsonTest, AServer) {
  const ServerInfo info = ReadServer(Json(R"({"auth":"trusted","api_extensions":["a","b",7],"environment":{
      "server_version":"6.0.4","server_name":"m1","server_clustered":true,"driver":"lxc | qemu",
      "driver_version":"6.0.0 | 7.2.0","storage":"btrfs | dir","certificate_fingerprint":"fa2d",
      "kernel":"Linux","kernel_version":"6.1","kernel_architecture":"x86_64","project":"p",
      "addresses":["10.0.0.1:8443"]}})"));
  EXPECT_EQ(info.version, "6.0.4");
  EXPECT_EQ(info.name, "m1");
  EXPECT_TRUE(info.clustered);
  EXPECT_TRUE(info.trusted);
  EXPECT_TRUE(info.RunsVms());
  EXPECT_TRUE(info.Has("b"));
  EXPECT_FALSE(info.Has("c"));
  EXPECT_THAT(info.addresses, ElementsAre("10.0.0.1:8443"));
  EXPECT_EQ(info.architecture, "x86_64");
  const ServerInfo alone =
      ReadServer(Json(R"({"auth":"untrusted","environment":{"server_name":"vm","driver":"lxc"}})"));
  EXPECT_EQ(alone.name, "none");
  EXPECT_FALSE(alone.trusted);
  EXPECT_FALSE(alone.RunsVms());
}

TEST(EngineJsonTest, Instances) {
  const auto instances = ReadInstances(Json(R"([{"name":"m1","type":"container","status":"Running",
      "location":"m2","created_at":"2026-01-01T00:00:00Z","config":{"user.a":"1","user.b":7},
      "devices":{"eth0":{"type":"nic"}},"expanded_devices":{"root":{"type":"disk","pool":"p"},"x":[]}},
      {"name":""},{"status":"Stopped"},7,null])"));
  ASSERT_THAT(instances, SizeIs(1));
  const InstanceInfo& one = instances.front();
  EXPECT_TRUE(one.alive());
  EXPECT_EQ(one.location, "m2");
  EXPECT_EQ(one.config, (Config{{"user.a", "1"}}));
  EXPECT_EQ(one.Get("user.b"), "");
  EXPECT_EQ(one.devices, (Devices{{"root", {{"type", "disk"}, {"pool", "p"}}}}));
}

TEST(EngineJsonTest, States) {
  const InstanceState state = ReadState(Json(R"({"status":"Running","pid":10248,"processes":5,
      "memory":{"usage":2818048},"cpu":{"usage":30017589},"disk":{"root":{"usage":16384}}})"));
  EXPECT_EQ(state.pid, 10248);
  EXPECT_EQ(state.processes, 5);
  EXPECT_EQ(state.memory, 2818048u);
  EXPECT_EQ(state.cpu_ns, 30017589u);
  EXPECT_EQ(state.disk, 16384u);
  const InstanceState vm = ReadState(Json(R"({"status":"Running","pid":99999999999,"processes":-7,
      "memory":{"usage":-1},"cpu":{"usage":1e300},"disk":null})"));
  EXPECT_EQ(vm.pid, INT32_MAX);
  EXPECT_EQ(vm.processes, -1);
  EXPECT_EQ(vm.memory + vm.cpu_ns + vm.disk, 0u);
}

TEST(EngineJsonTest, ListsByPrefix) {
  const auto doc = Json(R"([{"name":"clara-1","config":{"user.a":"x"},"location":"m1","used_by":["/1.0/x"]},
                            {"name":"other"},{"name":"clara"}])");
  EXPECT_THAT(ReadProfiles(doc, "clara-"), SizeIs(1));
  EXPECT_EQ(ReadProfiles(doc, "clara-")[0].config.at("user.a"), "x");
  EXPECT_THAT(ReadProfiles(doc, ""), SizeIs(3));
  const auto volumes = ReadVolumes(doc, "clara-");
  ASSERT_THAT(volumes, SizeIs(1));
  EXPECT_EQ(volumes[0].location, "m1");
  EXPECT_THAT(volumes[0].used_by, ElementsAre("/1.0/x"));
}

TEST(EngineJsonTest, Images) {
  const auto doc = Json(R"([{"fingerprint":"09f5019b5e7a6b97","type":"container","architecture":"x86_64",
      "aliases":[{"name":"debian"},7],"properties":{"os":"Debian"}},
      {"fingerprint":"17a0","type":"virtual-machine","aliases":[{"name":"debian"}]},
      {"type":"container","aliases":[{"name":"debian"}]}, {"fingerprint":"17b0","aliases":{"name":"debian"}}])");
  EXPECT_THAT(FindImages(doc, "debian"), SizeIs(2));
  EXPECT_EQ(FindImages(doc, "debian")[0].properties.at("os"), "Debian");
  EXPECT_THAT(FindImages(doc, "09f5019b5e7a"), SizeIs(1));
  EXPECT_THAT(FindImages(doc, "09f5019b5e7"), IsEmpty()) << "too short to mean one image";
  EXPECT_THAT(FindImages(doc, ""), IsEmpty());
}

TEST(EngineJsonTest, PoolsNetworksMembers) {
  PoolInfo pool =
      ReadPools(Json(R"([{"name":"p","driver":"btrfs","status":"Created","config":{"size":"8GiB"}}])")).at(0);
  EXPECT_EQ(pool.config.at("size"), "8GiB");
  ReadSpace(Json(R"({"space":{"used":5,"total":18446744073709551615}})"), &pool);
  EXPECT_EQ(pool.used, 5u);
  EXPECT_EQ(pool.total, UINT64_MAX);
  const NetworkInfo network =
      ReadNetwork(Json(R"({"name":"b","type":"bridge","managed":true,"status":"Created","config":{}})"));
  EXPECT_TRUE(network.managed);
  EXPECT_EQ(network.status, "Created");
  const auto members =
      ReadMembers(Json(R"([{"server_name":"m1","url":"https://10.0.0.1:8443","status":"Online",
      "message":"Fully operational","roles":["database"],"groups":["default"],"architecture":"x86_64"},
      {"status":"Offline"}])"));
  ASSERT_THAT(members, SizeIs(1));
  EXPECT_TRUE(members[0].online());
  EXPECT_THAT(members[0].roles, ElementsAre("database"));
}

TEST(EngineJsonTest, Loads) {
  const MemberLoad load = ReadLoad(Json(R"({"sysinfo":{"total_ram":1000,"free_ram":300,"buffered_ram":100,
      "logical_cpus":4,"load_averages":[1.5,1,0]}})"));
  EXPECT_EQ(load.memory_total, 1000u);
  EXPECT_EQ(load.memory_free, 400u);
  EXPECT_EQ(load.cpus, 4u);
  EXPECT_EQ(load.load, 1.5);
  for (const char* text : {"null", "{}", R"({"sysinfo":[]})", R"({"sysinfo":{"load_averages":[]}})",
                           R"({"sysinfo":{"load_averages":["x"],"free_ram":1e19,"total_ram":-1}})",
                           R"({"sysinfo":{"load_averages":[-3]}})"}) {
    const MemberLoad none = ReadLoad(Json(text));
    EXPECT_EQ(none.load, 0) << text;
    EXPECT_EQ(none.memory_free, 0u) << text;
  }
}

TEST(EngineJsonTest, ReadersTakeAnything) {
  for (const char* text :
       {"null", "true", "7", "-1e300", "\"x\"", "[]", "[[[]]]", "{}", R"({"metadata":{"metadata":7}})",
        R"({"name":7,"config":[],"expanded_devices":7,"environment":"x","api_extensions":{}})",
        R"([{"name":["a"],"config":"x"},null,7])", R"({"sysinfo":{"load_averages":{"0":1}}})"}) {
    const auto doc = Json(text);
    EXPECT_EQ(ReadHead(doc).type, "");
    (void)Metadata(doc);
    (void)ReadServer(doc);
    EXPECT_EQ(ReadInstance(doc).name, "");
    EXPECT_THAT(ReadInstances(doc), IsEmpty());
    (void)ReadState(doc);
    EXPECT_THAT(ReadProfiles(doc, ""), IsEmpty());
    EXPECT_THAT(ReadVolumes(doc, ""), IsEmpty());
    EXPECT_THAT(ReadPools(doc), IsEmpty());
    EXPECT_THAT(ReadMembers(doc), IsEmpty());
    EXPECT_THAT(FindImages(doc, "debian"), IsEmpty());
    EXPECT_EQ(ReadNetwork(doc).name, "");
  }
}

TEST(EngineJsonTest, BodiesHoldWhatTheyAreGiven) {
  const Config config = {{"user.a", "quote \" newline \n"}, {"user.\xC3\xA4", ""}};
  for (const std::string& body : {ProfileBody("n", "d", config), VolumeBody("n", "d", config),
                                  NetworkBody("n", config), ConfigBody(config)})
    EXPECT_EQ(ReadConfig(Json(body), "config"), config) << body;
  EXPECT_EQ(ProfileBody("", "d", {}), R"({"description":"d","config":{},"devices":{}})");
  EXPECT_EQ(StateBody("stop", true, 5), R"({"action":"stop","force":true,"timeout":5})");
  EXPECT_EQ(
      ExecBody({"sh", "-c", "a\"b"}),
      R"({"command":["sh","-c","a\"b"],"record-output":true,"wait-for-websocket":false,"interactive":false})");
}

}  // namespace
}  // namespace csb::incus

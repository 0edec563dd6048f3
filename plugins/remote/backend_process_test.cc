// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/backend_testing.h"

namespace csb::remote {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kInfo[] = R"({"handle":"p_1","state":"running","bytes":5})";
constexpr char kLook[] = "GET /sandbox/alice/processes/p_1 ";
constexpr char kFollow[] = "GET /sandbox/alice/processes/p_1/output?";
constexpr char kInput[] = "POST /sandbox/alice/processes/p_1/input ";
const std::string kEnded =
    Event(R"({"event":"exit","handle":"p_1","state":"exited","exit_code":3,"bytes":9})");

class RemoteProcessTest : public RemoteBackendTest {
 protected:
  static Request Of(uint32_t op, std::string more = "") {
    return {.op = op, .payload = R"({"handle":"p_1")" + more + "}"};
  }
  static Request Attach(std::string more = "") {
    Request request = Of(CSB_OP_PROCESS_ATTACH, std::move(more));
    request.flags = CSB_REQUEST_INPUT;
    return request;
  }
};

TEST_F(RemoteProcessTest, OutputIsReadExactly) {
  FakeService service(kFullDocument);
  Start(service);
  service.On(kFollow, Answer(R"({"handle":"p_1","state":"exited","exit_code":0,"offset":0,"next_offset":3,)"
                             R"("output":"Yf8K","encoding":"base64","running":false})"));
  const auto op = Do(Of(CSB_OP_PROCESS_OUTPUT));
  ASSERT_EQ(op->code(), CSB_OK) << op->message();
  EXPECT_EQ(op->output(CSB_STREAM_STDOUT), "a\xff\n");
  EXPECT_EQ(op->result(), R"({"handle":"p_1","state":"exited","exit_code":0,"offset":0,"next_offset":3})");
}

TEST_F(RemoteProcessTest, AnswersThatAreNoneAreSaid) {
  FakeService service(kFullDocument);
  Start(service);
  for (const char* odd :
       {"[]", "{}", R"({"handle":"p_1","state":"dancing"})", R"({"handle":7,"state":"exited"})",
        R"({"handle":"p_1","state":"exited","output":"%","encoding":"base64"})"}) {
    service.On(kFollow, Answer(odd));
    const auto op = Do(Of(CSB_OP_PROCESS_OUTPUT));
    EXPECT_EQ(op->code(), CSB_E_UNAVAILABLE) << odd;
    EXPECT_THAT(op->message(), HasSubstr(service.url().substr(7))) << odd;
  }
  service.On("GET /sandbox/alice/processes ", Answer(R"({"processes":{}})"));
  EXPECT_EQ(Do({.op = CSB_OP_PROCESS_LIST, .payload = "{}"})->code(), CSB_E_UNAVAILABLE);
}

TEST_F(RemoteProcessTest, InputGoesAsAWhole) {
  FakeService service(kFullDocument);
  Start(service);
  service.On(kInput, Answer(R"({"written":6})"));
  Request request = Of(CSB_OP_PROCESS_INPUT, R"(,"eof":true)");
  request.flags = CSB_REQUEST_INPUT;
  auto op = Begin(request);
  EXPECT_TRUE(op->Send("abc", false));
  EXPECT_TRUE(op->Send("def"));
  ASSERT_TRUE(op->Wait());
  EXPECT_EQ(op->result(), R"({"written":6})");
  ASSERT_EQ(service.Seen(kInput).size(), 1u);
  EXPECT_EQ(BodyOf(service.Seen(kInput)[0]), R"({"content":"YWJjZGVm","encoding":"base64","eof":true})");
}

TEST_F(RemoteProcessTest, AnAttachmentGoesBothWaysFromTheEndOfWhatWasPrinted) {
  FakeService service(kFullDocument);
  Start(service);
  service.On(kLook, Answer(kInfo));
  service.On(kInput, Answer(R"({"written":1})"));
  service.On(kFollow, [&](FakeService::Peer& peer, const std::string&) {
    EXPECT_TRUE(service.Wait(kInput, 1)) << "its input does not wait for output";
    return peer.Send(std::string(kStreamHead) +
                     Event(R"({"event":"stdout","data":"/wA=","encoding":"base64"})") + kEnded) &&
           peer.Send(kStreamEnd);
  });
  auto op = Begin(Attach());
  EXPECT_TRUE(op->Send("k"));
  ASSERT_TRUE(op->Wait());
  EXPECT_THAT(op->violations(), IsEmpty());
  ASSERT_EQ(op->code(), CSB_OK) << op->message();
  EXPECT_EQ(op->output(CSB_STREAM_STDOUT), std::string("\xff\0", 2));
  EXPECT_EQ(op->result(), R"({"handle":"p_1","state":"exited","exit_code":3,"bytes":9})");
  EXPECT_THAT(service.Seen(kFollow)[0], HasSubstr("offset=5 "));
  EXPECT_EQ(BodyOf(service.Seen(kInput)[0]), R"({"content":"aw==","encoding":"base64"})")
      << "its end leaves the program's input open";
}

TEST_F(RemoteProcessTest, AnAttachmentSaysWhyItEnds) {
  FakeService service(kFullDocument);
  Start(service);
  service.On(kLook, Answer(R"({"error":"no such program","code":"not_found"})", "404 Not Found"));
  auto op = Do(Of(CSB_OP_PROCESS_ATTACH));
  EXPECT_EQ(op->code(), CSB_E_NOT_FOUND);
  EXPECT_THAT(op->message(), HasSubstr("no such program"));

  service.On(kLook, Answer(kInfo));
  service.On(kFollow, [](FakeService::Peer& peer, const std::string&) {
    return peer.Send(std::string(kStreamHead) + Event(R"({"event":"stdout","data":"half"})")), false;
  });
  op = Do(Of(CSB_OP_PROCESS_ATTACH));
  EXPECT_EQ(op->code(), CSB_E_UNAVAILABLE);
  EXPECT_EQ(op->output(CSB_STREAM_STDOUT), "half");

  for (const char* odd :
       {"nonsense", R"({"event":"exit"})", R"({"event":"stdout","data":"%","encoding":"base64"})"}) {
    service.On(kFollow, [odd](FakeService::Peer& peer, const std::string&) {
      return peer.Send(std::string(kStreamHead) + Event(odd));
    });
    EXPECT_EQ(Do(Of(CSB_OP_PROCESS_ATTACH))->code(), CSB_E_UNAVAILABLE) << odd;
  }
}

TEST_F(RemoteProcessTest, ACancelLeavesTheProgramAlone) {
  FakeService service(kFullDocument);
  Start(service);
  service.On(kLook, Answer(kInfo));
  service.On(kFollow, [](FakeService::Peer& peer, const std::string&) {
    return peer.Send(std::string(kStreamHead)) && peer.Request().empty();
  });
  auto op = Begin(Attach());
  ASSERT_TRUE(service.Wait(kFollow));
  op->Cancel(CSB_E_CANCELLED);
  ASSERT_TRUE(op->Wait());
  EXPECT_EQ(op->code(), CSB_E_CANCELLED);
  ASSERT_TRUE(service.WaitGone()) << "the connection is what the service hears it by";
  EXPECT_THAT(service.Seen("DELETE"), IsEmpty());
}

TEST_F(RemoteProcessTest, AServiceWithoutThemRefuses) {
  FakeService service(kPlainDocument);
  Start(service);
  for (const uint32_t op : {CSB_OP_PROCESS_START, CSB_OP_PROCESS_OUTPUT, CSB_OP_PROCESS_INPUT,
                            CSB_OP_PROCESS_ATTACH, CSB_OP_PROCESS_REMOVE})
    EXPECT_EQ(Do(Of(op))->code(), CSB_E_UNSUPPORTED) << op;
}

}  // namespace
}  // namespace csb::remote

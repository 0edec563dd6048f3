// SPDX-License-Identifier: Apache-2.0
//
// Streams and files: events as they happen, ranges, uploads, and who waits for whom.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clara_sandbox/cpp/json.h"
#include "plugins/http/test_client.h"
#include "plugins/http/test_server.h"

namespace csb::http {
namespace {

using testing::FakeService;
using ::testing::HasSubstr;
using ::testing::Not;
using Options = TestServer::Options;

constexpr char kRan[] =
    R"({"exit_code":0,"cause":"exit","execution_time":0.5,"stdout_bytes":3,"stderr_bytes":0})";
constexpr char kNdjson[] = "Accept: application/x-ndjson\r\n";
constexpr char kBytes[] = "Accept: application/octet-stream\r\n";

// A file whose content is `text`, answered as the agent answers.
FakeService::Answer File(std::string text, uint64_t claimed = UINT64_MAX) {
  return [text, claimed](const RequestView& request, EventSink sink) -> Result<std::shared_ptr<Operation>> {
    auto doc = json::ParseObject(request.payload);
    const auto size = static_cast<int64_t>(text.size());
    int64_t offset = json::GetInt(*doc, "offset").value_or(0);
    if (offset < 0) offset = std::max<int64_t>(0, size + offset);
    offset = std::min(offset, size);
    const int64_t length = std::min(json::GetInt(*doc, "length").value_or(size), size - offset);
    const uint64_t told = claimed == UINT64_MAX ? static_cast<uint64_t>(size) : claimed;
    sink.Event(CSB_EVENT_META,
               R"({"path":"/workspace/f","size":)" + std::to_string(told) +
                   R"(,"mode":"0640","mtime":"2024-05-01T10:00:00.123Z","offset":)" + std::to_string(offset) +
                   R"(,"length":)" +
                   std::to_string(claimed == UINT64_MAX ? length : static_cast<int64_t>(claimed)) + "}");
    sink.Output(CSB_STREAM_DATA, std::string_view(text).substr(offset, length));
    sink.Done("{}");
    return FakeService::NoOperation();
  };
}

// A shell whose events are streamed and that ends when the test says so.
std::shared_ptr<HeldOperation> StartStream(TestServer& server, TestClient& client) {
  server.Hold(CSB_OP_SHELL);
  client.Send(std::string("POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n") +
              kNdjson + "\r\n{\"command\":\"x\"}");
  return server.held();
}

TEST(Stream, SendsEventsAsTheyHappen) {
  TestServer server;
  TestClient client(server.port());
  auto operation = StartStream(server, client);
  operation->sink.Output(CSB_STREAM_STDOUT, "a\xC3");
  EXPECT_THAT(client.ReadUntil("}\n"), HasSubstr(R"({"event":"stdout","data":"a"})"));
  operation->sink.Output(CSB_STREAM_STDOUT, "\xA4");
  EXPECT_THAT(client.ReadUntil("}\n"), HasSubstr("{\"event\":\"stdout\",\"data\":\"\xC3\xA4\"}"));
  operation->sink.Event(CSB_EVENT_DROPPED, R"({"stream":2,"bytes":7})");
  EXPECT_THAT(client.ReadUntil("}\n"), HasSubstr(R"({"event":"dropped","stream":"stderr","bytes":7})"));
  operation->sink.Output(CSB_STREAM_STDERR, "\xFF");
  EXPECT_THAT(client.ReadUntil("}\n"), HasSubstr("{\"event\":\"stderr\",\"data\":\"\xEF\xBF\xBD\"}"));
  operation->sink.Done(kRan);
  const std::string end = client.ReadUntil("0\r\n\r\n");
  EXPECT_THAT(end, HasSubstr(R"({"event":"exit","success":true,"output":"","error":null,"exit_code":0)"));
  EXPECT_THAT(end, HasSubstr(R"("cause":"exit","signal":0,)"));
  EXPECT_EQ(client.Get("/nothing").status, 404) << "the connection goes on";
  EXPECT_THAT(server.service.requests()[0].payload, Not(HasSubstr("output"))) << "streams are not bounded";
}

TEST(Stream, WithBase64HasTheExactBytes) {
  TestServer server;
  TestClient client(server.port());
  server.Hold(CSB_OP_SHELL);
  const std::string body = R"({"command":"x","encoding":"base64","stdin":"AP8=","stdin_encoding":"base64"})";
  client.Send(std::string("POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: ") +
              std::to_string(body.size()) + "\r\n" + kNdjson + "\r\n" + body);
  auto operation = server.held();
  EXPECT_EQ(server.service.requests()[0].payload, R"({"command":"x"})");
  operation->sink.InputCredit(10);
  EXPECT_TRUE(operation->WaitEof());
  EXPECT_EQ(operation->input(), std::string("\0\xFF", 2));
  operation->sink.Output(CSB_STREAM_STDOUT, "a\xC3");
  EXPECT_THAT(client.ReadUntil("}\n"), HasSubstr(R"({"event":"stdout","data":"YcM=","encoding":"base64"})"));
  operation->sink.Output(CSB_STREAM_STDERR, std::string_view("\0\xFF", 2));
  EXPECT_THAT(client.ReadUntil("}\n"), HasSubstr(R"({"event":"stderr","data":"AP8=","encoding":"base64"})"));
  operation->sink.Done(kRan);
  EXPECT_THAT(client.ReadUntil("0\r\n\r\n"), HasSubstr(R"({"event":"exit")"));
}

TEST(Stream, Base64IsForStreamsOnly) {
  TestServer server;
  server.service.OnDone(CSB_OP_SHELL, kRan);
  server.service.OnDone(CSB_OP_PIP_LIST, kRan, "a 1\n");
  TestClient client(server.port());
  const TestAnswer refused = client.Post("/sandbox/a/shell", R"({"command":"x","encoding":"base64"})");
  EXPECT_EQ(refused.status, 422);
  EXPECT_THAT(refused.body, HasSubstr("encoding: base64 comes only in a streamed answer"));
  EXPECT_EQ(client.Get("/sandbox/a/pip/list?encoding=base64").status, 422);
  EXPECT_TRUE(server.service.requests().empty());
  EXPECT_THAT(client.Get("/sandbox/a/pip/list?encoding=base64", kNdjson).body,
              HasSubstr(R"({"event":"stdout","data":"YSAxCg==","encoding":"base64"})"));
}

TEST(Stream, ServerSentEventsHaveHeartbeats) {
  TestServer server(Options{{"http.heartbeat", "0.05"}});
  server.Hold(CSB_OP_EXECUTE);
  TestClient client(server.port());
  client.Send(
      "POST /sandbox/a/execute HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Length: "
      "12\r\n\r\n{\"code\":\"1\"}");
  auto operation = server.held();
  EXPECT_THAT(client.ReadUntil(": still running\n\n"), HasSubstr("Content-Type: text/event-stream"));
  EXPECT_NE(client.ReadUntil(": still running\n\n"), "");
  operation->sink.Output(CSB_STREAM_STDOUT, "1\n");
  EXPECT_THAT(client.ReadUntil("}\n\n"),
              HasSubstr("event: stdout\ndata: {\"event\":\"stdout\",\"data\":\"1\\n\"}"));
  operation->sink.Done(kRan);
  EXPECT_THAT(client.ReadUntil("}\n\n"), HasSubstr("event: exit\n"));
}

TEST(Stream, AnErrorBeforeTheFirstEventHasItsStatus) {
  TestServer server;
  server.service.OnError(CSB_OP_SHELL, {CSB_E_NO_CAPACITY, "all in use", "wait", true});
  TestClient client(server.port());
  EXPECT_EQ(client.Post("/sandbox/a/shell", "{}", kNdjson).status, 503);
  server.service.On(CSB_OP_SHELL, [](const RequestView&, EventSink sink) {
    sink.Output(CSB_STREAM_STDOUT, "x");
    sink.Fail({CSB_E_GONE, "the sandbox is gone", "", false});
    return FakeService::NoOperation();
  });
  const TestAnswer answer = client.Post("/sandbox/a/shell", "{}", kNdjson);
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"({"event":"error","error":"the sandbox is gone")"));
  EXPECT_TRUE(answer.complete);
}

TEST(Stream, ASlowReaderHoldsTheProgramBack) {
  TestServer server;
  TestClient client(server.port());
  auto operation = StartStream(server, client);
  constexpr uint64_t kAll = 12 << 20;
  operation->Flood(CSB_STREAM_STDOUT, kAll, kRan);
  client.ReadUntil("stdout");
  // Nothing more is read: only what credit and the kernel's buffers hold may have been sent.
  EXPECT_LT(operation->flooded(), kAll * 3 / 4);
  TestAnswer rest;
  std::string text;
  while (text.find("\"exit\"") == std::string::npos) {
    text = text.substr(text.size() > 100 ? text.size() - 100 : 0) + client.ReadSome();
    if (text.size() < 10) break;
  }
  EXPECT_EQ(operation->flooded(), kAll);
}

TEST(Stream, AClientThatGoesCancelsIt) {
  TestServer server;
  TestClient client(server.port());
  auto operation = StartStream(server, client);
  operation->Flood(CSB_STREAM_STDOUT, uint64_t{1} << 40, kRan);
  client.ReadUntil("stdout");
  client.Close();
  EXPECT_TRUE(operation->WaitCancelled());
}

// A service that ends an operation late, when the frontend has gone.
TEST(Stream, AnOperationMayOutliveTheServer) {
  TestServer server;
  TestClient client(server.port());
  auto operation = StartStream(server, client);
  operation->sink.Output(CSB_STREAM_STDOUT, "early");
  client.ReadUntil("early");
  server.server->Stop();
  server.server.reset();
  operation->sink.Output(CSB_STREAM_STDOUT, "late");
  operation->sink.Done(kRan);
}

TEST(Stream, AClientThatGoesCancelsItAlsoBehindAFullPipeline) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  TestClient client(server.port());
  client.Send(
      "POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{\"command\":\"x\"}");
  auto operation = server.held();
  std::string more;
  while (more.size() < 100000) more += "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
  client.Send(more);
  client.Close();
  EXPECT_TRUE(operation->WaitCancelled());
}

TEST(Stream, StdinIsFedAsCreditComes) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  TestClient client(server.port());
  client.Send(
      "POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33\r\n\r\n"
      R"({"command":"cat","stdin":"abcde"})");
  auto operation = server.held();
  EXPECT_TRUE(server.service.requests()[0].has_input());
  operation->sink.InputCredit(3);
  EXPECT_TRUE(operation->WaitInput(3));
  EXPECT_FALSE(operation->eof());
  operation->sink.InputCredit(100);
  EXPECT_TRUE(operation->WaitEof());
  EXPECT_EQ(operation->input(), "abcde");
  operation->sink.Done(kRan);
  EXPECT_EQ(client.Read().status, 200);
}

TEST(FileRead, IsTextOrBase64) {
  TestServer server;
  TestClient client(server.port());
  server.service.On(CSB_OP_FILE_READ, File("h\xC3\xA4\n"));
  EXPECT_EQ(client.Get("/sandbox/a/file?path=f").body,
            "{\"path\":\"/workspace/f\",\"content\":\"h\xC3\xA4\\n\",\"encoding\":\"utf-8\",\"size\":4}");
  server.service.On(CSB_OP_FILE_READ, File(std::string("\0\xFF", 2)));
  EXPECT_EQ(client.Get("/sandbox/a/file?path=f").body,
            R"({"path":"/workspace/f","content":"AP8=","encoding":"base64","size":2})");
  server.service.OnError(CSB_OP_FILE_READ, {CSB_E_NOT_FOUND, "File not found: f", "", false});
  EXPECT_EQ(client.Get("/sandbox/a/file?path=f").status, 404);
  EXPECT_EQ(client.Get("/sandbox/a/file?path=f", kBytes).status, 404);
}

TEST(FileRead, OfALargeFileIsForRawBytesOnly) {
  TestServer server(Options{{"http.max_body", "1024"}});
  server.service.On(CSB_OP_FILE_READ, File(std::string(2000, 'x')));
  TestClient client(server.port());
  const TestAnswer answer = client.Get("/sandbox/a/file?path=f");
  EXPECT_EQ(answer.status, 413);
  EXPECT_THAT(answer.body, HasSubstr("application/octet-stream"));
  EXPECT_EQ(client.Get("/sandbox/a/file?path=f", kBytes).body.size(), 2000u);
}

TEST(FileRead, RawBytesHaveRanges) {
  TestServer server;
  server.service.On(CSB_OP_FILE_READ, File("0123456789"));
  TestClient client(server.port());
  const auto get = [&](const std::string& range) {
    return client.Get("/sandbox/a/file?path=d/f%22%0A",
                      kBytes + (range.empty() ? "" : "Range: bytes=" + range + "\r\n"));
  };
  TestAnswer answer = get("");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "0123456789");
  EXPECT_EQ(answer.fields.at("content-type"), "application/octet-stream");
  EXPECT_EQ(answer.fields.at("last-modified"), "Wed, 01 May 2024 10:00:00 GMT");
  EXPECT_EQ(answer.fields.at("content-disposition"), "attachment; filename*=UTF-8''f%22%0A");
  EXPECT_EQ(answer.fields.at("x-content-type-options"), "nosniff");
  const std::string tag = answer.fields.at("etag");
  answer = get("2-4");
  EXPECT_EQ(answer.status, 206);
  EXPECT_EQ(answer.body, "234");
  EXPECT_EQ(answer.fields.at("content-range"), "bytes 2-4/10");
  EXPECT_EQ(answer.fields.at("x-file-mtime"), "2024-05-01T10:00:00.123Z");
  EXPECT_EQ(answer.fields.at("x-file-mode"), "0640");
  EXPECT_EQ(get("7-").body, "789");
  EXPECT_EQ(get("-2").body, "89");
  EXPECT_EQ(get("-200").body, "0123456789");
  EXPECT_EQ(get("0-99999999999999999999").body, "0123456789");
  EXPECT_EQ(get("1-2,4-5").status, 200) << "several ranges: the whole file";
  for (const char* none : {"10-", "-0", "99999999999999999999-"}) {
    answer = get(none);
    EXPECT_EQ(answer.status, 416) << none;
    EXPECT_EQ(answer.fields.at("content-range"), "bytes */10") << none;
  }
  EXPECT_EQ(client.Get("/sandbox/a/file?path=f", kBytes + ("If-None-Match: " + tag + "\r\n")).status, 304);
  answer = client.Call("HEAD", "/sandbox/a/file?path=f", kBytes);
  EXPECT_EQ(answer.fields.at("content-length"), "10");
  EXPECT_EQ(answer.fields.at("x-file-mtime"), "2024-05-01T10:00:00.123Z");
  EXPECT_EQ(answer.fields.at("x-file-mode"), "0640");
  answer = client.Call("HEAD", "/sandbox/a/file?path=f", kBytes + std::string("Range: bytes=2-4\r\n"));
  EXPECT_EQ(answer.status, 200) << "Range is for GET";
  EXPECT_EQ(answer.fields.at("content-length"), "10");
  EXPECT_EQ(get("").status, 200) << "the connection goes on";
  server.service.On(CSB_OP_FILE_READ, File(""));
  EXPECT_EQ(get("").fields.at("content-length"), "0");
  EXPECT_EQ(get("0-").status, 416);
}

TEST(FileRead, WhatASandboxTellsAddsNoHeader) {
  TestServer server;
  server.service.On(CSB_OP_FILE_READ, [](const RequestView&, EventSink sink) {
    sink.Event(CSB_EVENT_META, R"({"size":0,"mode":"0644\r\nA: b","mtime":"2024-05-01T10:00:00Z\r\nB: c"})");
    sink.Done("{}");
    return FakeService::NoOperation();
  });
  const TestAnswer answer = TestClient(server.port()).Get("/sandbox/a/file?path=f", kBytes);
  EXPECT_EQ(answer.status, 200);
  for (const char* name : {"x-file-mode", "x-file-mtime", "a", "b"})
    EXPECT_EQ(answer.fields.count(name), 0u) << name;
}

TEST(FileRead, AFileThatShrinksBreaksTheConnection) {
  TestServer server;
  server.service.On(CSB_OP_FILE_READ, File("0123456789", 20));
  const TestAnswer answer = TestClient(server.port()).Get("/sandbox/a/file?path=f", kBytes);
  EXPECT_FALSE(answer.complete);
}

TEST(FileRead, ALargeFileFlowsThrough) {
  TestServer server;
  server.Hold(CSB_OP_FILE_READ);
  TestClient client(server.port());
  client.Send(std::string("GET /sandbox/a/file?path=f HTTP/1.1\r\nHost: localhost\r\n") + kBytes + "\r\n");
  auto operation = server.held();
  constexpr uint64_t kSize = 32 << 20;
  operation->sink.Event(CSB_EVENT_META, R"({"size":33554432,"offset":0,"length":33554432})");
  operation->Flood(CSB_STREAM_DATA, kSize, "{}");
  const TestAnswer answer = client.Read();
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(answer.body.size(), kSize);
}

TEST(FileWrite, TakesJson) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  TestClient client(server.port());
  const std::string body = R"({"path":"d/f","content":"aGk=","encoding":"base64"})";
  client.Send(
      "POST /sandbox/a/file HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  auto operation = server.held();
  operation->sink.InputCredit(1000);
  EXPECT_TRUE(operation->WaitEof());
  EXPECT_EQ(operation->input(), "hi");
  operation->sink.Done(R"({"path":"/workspace/d/f","size":2})");
  const TestAnswer answer = client.Read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"({"success":true,"output":"Wrote 2 bytes to /workspace/d/f\n")"));
}

TEST(FileWrite, TakesRawBytesWithinTheCredit) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  TestClient client(server.port());
  const std::string data(300000, 'y');
  client.Send(
      "POST /sandbox/a/file?path=d%2Ff HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
      "Content-Length: 300000\r\n\r\n" +
      data);
  auto operation = server.held();
  operation->sink.InputCredit(1000);
  EXPECT_TRUE(operation->WaitInput(1000));
  EXPECT_EQ(operation->input().size(), 1000u);
  operation->sink.InputCredit(1 << 20);
  EXPECT_TRUE(operation->WaitEof());
  EXPECT_EQ(operation->input(), data);
  EXPECT_THAT(server.service.requests()[0].payload, HasSubstr(R"("path":"d/f")"));
  operation->sink.Done(R"({"path":"/workspace/d/f","size":300000})");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_EQ(client.Get("/nothing").status, 404);
}

TEST(FileWrite, AnEmptyFileIsEndedOnceThereIsSomeoneToTakeIt) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  for (const bool raw : {true, false}) {
    TestClient client(server.port());
    client.Send(std::string("POST /sandbox/a/file") + (raw ? "?path=f" : "") +
                " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " +
                (raw ? "text/plain\r\nContent-Length: 0\r\n\r\n"
                     : "application/json\r\nContent-Length: 25\r\n\r\n{\"path\":\"f\",\"content\":\"\"}"));
    auto operation = server.held(raw ? 0 : 1);
    EXPECT_FALSE(operation->eof());
    operation->sink.InputCredit(1000);
    EXPECT_TRUE(operation->WaitEof());
    EXPECT_EQ(operation->input(), "");
    operation->sink.Done(R"({"path":"f","size":0})");
    EXPECT_EQ(client.Read().status, 200);
  }
}

TEST(FileWrite, TakesChunks) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  TestClient client(server.port());
  client.Send(
      "POST /sandbox/a/file?path=f HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  auto operation = server.held();
  operation->sink.InputCredit(2);
  EXPECT_TRUE(operation->WaitInput(2));
  client.Send("2\r\nde\r\n0\r\n\r\n");
  operation->sink.InputCredit(100);
  EXPECT_TRUE(operation->WaitEof());
  EXPECT_EQ(operation->input(), "abcde");
  operation->sink.Done(R"({"path":"f","size":5})");
  EXPECT_EQ(client.Read().status, 200);
}

TEST(FileWrite, AnUploadThatBreaksIsCancelledAndNeverEnded) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  const std::string head =
      "POST /sandbox/a/file?path=f HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n";
  {
    TestClient client(server.port());
    client.Send(head + "Content-Length: 100\r\n\r\nabc");
    auto operation = server.held(0);
    operation->sink.InputCredit(1000);
    EXPECT_TRUE(operation->WaitInput(3));
    client.Close();
    EXPECT_TRUE(operation->WaitCancelled());
    EXPECT_FALSE(operation->eof());
  }
  TestClient client(server.port());
  client.Send(head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX\r\n");
  auto operation = server.held(1);
  operation->sink.InputCredit(1000);
  EXPECT_TRUE(operation->WaitCancelled());
  EXPECT_FALSE(operation->eof());
  EXPECT_EQ(client.Read().status, 400);
}

TEST(FileWrite, AnErrorComesBeforeTheBodyHasEnded) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  TestClient client(server.port());
  client.Send(
      "POST /sandbox/a/file?path=f HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
      "Content-Length: 10000000\r\n\r\n" +
      std::string(100000, 'z'));
  auto operation = server.held();
  operation->sink.InputCredit(10);
  EXPECT_TRUE(operation->WaitInput(10));
  operation->sink.Fail({CSB_E_NO_SPACE, "the workspace is full", "delete files", false});
  const TestAnswer answer = client.Read();
  EXPECT_EQ(answer.status, 507);
  EXPECT_EQ(answer.fields.at("connection"), "close");
}

TEST(FileWrite, IsBoundedAndTypedBeforeItBegins) {
  TestServer server(Options{{"http.max_upload", "2048"}, {"http.max_body", "1024"}});
  server.Hold(CSB_OP_FILE_WRITE);
  const auto status = [&](const std::string& type, const std::string& query, const std::string& more) {
    TestClient client(server.port());
    client.Send("POST /sandbox/a/file" + query + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + type +
                "\r\n" + more + "\r\n");
    return client.Read().status;
  };
  EXPECT_EQ(status("application/zip", "?path=f", "Content-Length: 2049\r\n"), 413);
  EXPECT_EQ(status("application/json", "", "Content-Length: 1025\r\n"), 413);
  EXPECT_EQ(status("multipart/form-data; boundary=x", "?path=f", "Content-Length: 10\r\n"), 415);
  EXPECT_EQ(status("application/zip", "?path=f", "Content-Encoding: gzip\r\nContent-Length: 10\r\n"), 415);
  EXPECT_EQ(status("application/zip", "?path=f&path=g", "Content-Length: 10\r\n"), 422);
  EXPECT_EQ(status("application/zip", "?path=%FF", "Content-Length: 10\r\n"), 422);
  EXPECT_TRUE(server.service.requests().empty());
}

TEST(FileList, HasTheTextAndTheEntries) {
  TestServer server;
  server.service.OnDone(
      CSB_OP_FILE_LIST,
      R"({"path":"/workspace","text":"total 0\n","entries":[{"name":"a","type":"dir"}],"truncated":true})");
  server.service.OnDone(CSB_OP_FILE_DELETE, R"({"path":"/workspace/a"})");
  TestClient client(server.port());
  auto doc = json::ParseObject(client.Get("/sandbox/a/files").body);
  ASSERT_TRUE(doc);
  EXPECT_EQ(json::GetString(*doc, "output"), "total 0\n");
  EXPECT_EQ(json::GetBool(*doc, "success"), true);
  EXPECT_EQ(json::GetBool(*doc, "truncated"), true);
  EXPECT_STREQ((*doc)["entries"][0]["name"].GetString(), "a");
  doc = json::ParseObject(client.Call("DELETE", "/sandbox/a/file?path=a").body);
  EXPECT_EQ(json::GetString(*doc, "output"), "Deleted /workspace/a\n");
}

}  // namespace
}  // namespace csb::http

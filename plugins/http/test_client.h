// SPDX-License-Identifier: Apache-2.0
//
// test_client.h: a blocking HTTP client for tests that sends exactly what it is told to.
//
//   TestClient client(port);
//   client.Send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
//   EXPECT_EQ(client.Read().status, 200);
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace csb::http {

struct TestAnswer {
  int status = 0;                             // 0: the connection ended before a whole answer came
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;
  bool complete = false;
};

class TestClient {
 public:
  explicit TestClient(uint16_t port);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void Send(std::string_view bytes);
  // One answer; of HEAD without a body. Waits for at most ten seconds.
  TestAnswer Read(bool head = false);
  TestAnswer Get(const std::string& target, const std::string& fields = "");
  TestAnswer Post(const std::string& target, const std::string& body, const std::string& fields = "");
  TestAnswer Call(const std::string& method, const std::string& target, const std::string& fields = "",
                  const std::string& body = "");
  // What comes next, at least a byte; "" at the end of the connection.
  std::string ReadSome();
  std::string ReadUntil(std::string_view part);
  bool Ended();  // the server closed it, within ten seconds
  void Close();
  void Reset();  // closes so that the peer sees a reset

 private:
  bool Fill();
  int fd_;
  std::string buffer_;
};

}  // namespace csb::http

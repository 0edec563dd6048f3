// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as what a client sends on a connection: parsed, routed, authenticated, dispatched and their
// bodies read, without a socket, against a service that refuses everything. However the bytes are cut into
// pieces, the parser must come to the same end.
#include <time.h>

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "plugins/http/dispatch.h"
#include "plugins/http/docs_page.h"
#include "plugins/http/openapi.h"
#include "plugins/http/range.h"
#include "plugins/http/request_parser.h"

namespace {

using namespace csb;
using namespace csb::http;

// One request of a connection, as the parser told it.
struct Told {
  std::string head, body;
  int status = 0;  // of a refusal
  bool done = false;
  bool operator==(const Told&) const = default;
};

struct Collect : BodySink {
  size_t TakeBody(std::string_view bytes) override {
    body += bytes;
    return bytes.size();
  }
  std::string body;
};

std::vector<Told> Parse(std::string_view input, size_t piece) {
  std::vector<Told> requests;
  RequestParser parser({.header_bytes = 2048, .fields = 20, .target_bytes = 512});
  Collect sink;
  bool in_body = false;
  size_t begin = 0;
  for (size_t end = 0; end < input.size();) {
    end = std::min(input.size(), end + piece);
    for (bool more = true; more;) {
      const std::string_view rest = input.substr(begin, end - begin);
      if (rest.empty()) break;
      const ParseResult result = in_body ? parser.ParseBody(rest, sink) : parser.ParseHead(rest);
      if (!in_body) requests.resize(requests.size() + (requests.empty() || requests.back().done ? 1 : 0));
      if (result.consumed > rest.size()) abort();
      if (!result.ok()) {
        requests.back().status = result.status;
        requests.back().body = sink.body;
        return requests;
      }
      begin += result.consumed;
      more = result.consumed > 0;
      if (!in_body && result.consumed > 0) {
        const RequestHead& head = parser.head();
        requests.back().head = std::string(head.method) + "\n" + std::string(head.target) + "\n" +
                               std::string(head.host) + "\n" + head.accept;
        parser.LimitBody(4096);
        in_body = true;
      }
      if (in_body && parser.done()) {
        requests.back().done = true;
        requests.back().body = sink.body;
        sink.body.clear();
        parser.Reset();
        in_body = false;
      }
    }
  }
  return requests;
}

// A refusal may come before a piece's end, so what was read of a refused body may differ; nothing else.
void Compare(std::vector<Told> a, std::vector<Told> b) {
  for (auto* told : {&a, &b})
    if (!told->empty() && !told->back().done) {
      told->back().body.clear();
      // What the other has not begun yet says nothing.
      if (told->back().status == 0 && told->back().head.empty()) told->pop_back();
    }
  if (a != b) abort();
}

csb_str NoOption(const csb_host*, const char*) { return {nullptr, 0}; }
void NoLog(const csb_host*, int32_t, csb_str) {}
uint64_t Now(const csb_host*) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}
void NoCount(const csb_host*, csb_str, csb_str, double) {}
csb_status NoPost(const csb_host*, void (*)(void*), void*) { return CSB_E_UNAVAILABLE; }
const void* NoExtension(const csb_host*, const char*) { return nullptr; }
constexpr csb_host kHost{sizeof(csb_host), 0, nullptr, NoLog, NoOption, Now, NoCount, NoPost, NoExtension};

// Checks that the payload is an object: the service may rely on a frontend that far.
csb_status Refuse(csb_service*, const csb_request* request, const csb_events*, void*, csb_op**, csb_error*) {
  if (!json::ParseObject(View(request->payload))) abort();
  return CSB_E_UNSUPPORTED;
}
constexpr csb_op_calls kCalls{sizeof(csb_op_calls), 0, nullptr, nullptr, nullptr, nullptr};
constexpr csb_service_v1 kService{sizeof(csb_service_v1), 0, nullptr, Refuse, &kCalls};

struct Answers : Responder {
  void Respond(Reply reply) override {
    if (++answers > 1 || reply.status < 200 || reply.status > 599) abort();
    if (reply.fields.find("\r\n\r\n") != std::string::npos) abort();
  }
  void Begin(const Reply&, std::optional<uint64_t>) override { abort(); }  // nothing succeeds
  void Write(std::string, uint64_t) override { abort(); }
  void End() override { abort(); }
  void Break() override {}
  void WantBody() override {}
  void CallBack(double) override {}
  bool begun() const override { return answers > 0; }
  int answers = 0;
};

struct World {
  explicit World(bool with_key) : app({}, HostRef(&kHost), ServiceClient(&kService)) {
    app.openapi = OpenApiDocument();
    DocsPage page = MakeDocsPage(app.openapi);
    app.docs = page.html;
    app.docs_fields = page.fields;
    app.origins.need_known_host = !with_key;
    app.origins.allowed_origins = {"https://app.example"};
    auto keys = ParseKeys(with_key ? "all:key-of-all\nbob:key-of-bob:bob\n" : "", "keys");
    thread.keys = std::make_shared<KeyRing>(*keys);
  }
  App app;
  boost::asio::io_context io;
  ThreadState thread{io, nullptr};
};

void Answer(World& world, std::string_view input) {
  RequestParser parser({});
  const ParseResult head = parser.ParseHead(input);
  if (!head.ok() || head.consumed == 0) return;
  Answers answers;
  const Dispatched made = Dispatch(world.app, world.thread, parser.head(), answers);
  if (made.exchange == nullptr) abort();
  if (made.fields.find("\r\n\r\n") != std::string::npos) abort();
  ParseRange(parser.head().range);
  const uint64_t limit = made.exchange->body_limit();
  parser.LimitBody(limit > 0 ? limit : 64 << 10);
  made.exchange->Start();
  if (!parser.done()) {
    const ParseResult body = parser.ParseBody(input.substr(head.consumed), *made.exchange);
    if (!body.ok() || !parser.done()) return;
  }
  if (answers.answers == 0) made.exchange->OnBodyEnd();
  if (answers.answers == 0) abort();  // the service refused: it must have been said
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World open(false), keyed(true);
  if (size > 64 << 10) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto whole = Parse(input, SIZE_MAX / 2);
  if (size < 4096) Compare(whole, Parse(input, 1));
  Compare(whole, Parse(input, 7));
  Answer(open, input);
  Answer(keyed, input);
  return 0;
}

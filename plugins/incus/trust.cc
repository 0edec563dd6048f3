// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/trust.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"
#include "plugins/common/http_client.h"
#include "plugins/common/printable.h"
#include "plugins/common/reactor.h"
#include "plugins/common/small_file.h"
#include "plugins/incus/certificate.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxToken = 64 << 10, kMaxAddresses = 64, kMaxText = 256;
constexpr auto kConnect = 5s, kAnswer = 20s;

Error BadToken(const std::string& what) {
  return {CSB_E_INVALID, "this is no token of an Incus server: " + what,
          "`incus config trust add clara-sandbox` prints one on the server; give it whole and in one piece",
          false};
}

// A member that is a text within bounds; "": not there.
Result<std::string> TextOf(const json::Value& object, const char* name, size_t limit) {
  const json::Value* value = json::Find(object, name);
  if (value == nullptr) return std::string();
  if (!value->IsString() || value->GetStringLength() > limit)
    return BadToken(std::string(name) + " is no text, or too long");
  return std::string(value->GetString(), value->GetStringLength());
}

bool IsHex64(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// A server that has the token's certificate, and our connection with it.
class Server {
 public:
  Server(Reactor& reactor, HttpEndpoint endpoint) : reactor_(reactor), endpoint_(std::move(endpoint)) {}

  Status Connect() {
    auto client = HttpClient::Create(reactor_, endpoint_);
    if (!client) return client.error();
    client_ = *std::move(client);
    return {};
  }

  // CSB_OK, or what the server says instead.
  Result<std::string> Add(const TrustToken& token) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "type", "client");
    json::Member(w, "name", token.client_name);
    json::Member(w, "trust_token", token.text);
    w.EndObject();
    auto answer = Call("POST", "/1.0/certificates", {buffer.GetString(), buffer.GetSize()});
    if (!answer) return answer.error();
    if (answer->status >= 200 && answer->status < 300) return std::string();
    auto body = json::ParseObject(answer->body);
    const std::string said = body ? Printable(json::GetString(*body, "error").value_or(""), 200) : "";
    return said.empty() ? "status " + std::to_string(answer->status) : said;
  }

  // The metadata of an answer.
  Result<json::Document> Get(const char* target) {
    auto answer = Call("GET", target, "");
    if (!answer) return answer.error();
    const auto wrong = [&](const std::string& what) {
      return Error{CSB_E_UNAVAILABLE, endpoint_.url + ": GET " + target + ": " + what,
                   "is this an Incus server?", false};
    };
    if (answer->status != 200) return wrong("status " + std::to_string(answer->status));
    auto body = json::ParseObject(answer->body);
    if (!body) return wrong(body.error().message);
    return body;
  }

 private:
  Result<HttpResponse> Call(const char* method, const char* target, std::string body) {
    HttpRequest request{.method = method, .target = target, .timeout = kAnswer, .max_body = 1 << 20};
    if (!body.empty()) request.headers = {"Content-Type: application/json"};
    request.body = std::move(body);
    auto answer = client_->Call(std::move(request));
    if (answer) return answer;
    Error error = answer.error();
    error.message = endpoint_.url + ": " + error.message;
    return error;
  }

  Reactor& reactor_;
  HttpEndpoint endpoint_;
  std::unique_ptr<HttpClient> client_;
};

// A certificate in a file while nothing is decided yet.
class Candidate {
 public:
  explicit Candidate(std::string path) : path_(std::move(path)) {}
  ~Candidate() { unlink(path_.c_str()); }
  Candidate(const Candidate&) = delete;
  Candidate& operator=(const Candidate&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Asks a server that is the token's to trust us, and whether it does.
Result<Trusted> Ask(const TrustToken& token, const Address& address, HttpEndpoint endpoint) {
  auto reactor = Reactor::Create("incus-trust");
  if (!reactor) return reactor.error();
  Server server(**reactor, std::move(endpoint));
  if (Status s = server.Connect(); !s) return s.error();
  auto said = server.Add(token);
  if (!said) return said.error();
  Trusted out{.address = address, .fingerprint = token.fingerprint};
  out.already = said->find("already trusted") != std::string::npos;
  if (!said->empty() && !out.already)
    return Error{CSB_E_FORBIDDEN, address.Url() + " does not take the token: " + *said,
                 "a token works once" +
                     (token.expires_at.empty() ? std::string() : ", and this one until " + token.expires_at) +
                     "; make another on the server: incus config trust add " + token.client_name,
                 false};
  auto info = server.Get("/1.0");
  if (!info) return info.error();
  const json::Value* metadata = json::Find(*info, "metadata");
  if (metadata == nullptr || json::GetString(*metadata, "auth") != "trusted")
    return Error{CSB_E_FORBIDDEN, address.Url() + " took the token, but does not trust our certificate",
                 "`incus config trust list` on the server shows whom it trusts", false};
  if (const json::Value* environment = json::Find(*metadata, "environment")) {
    out.server = Printable(json::GetString(*environment, "server_name").value_or(""), 100);
    out.version = Printable(json::GetString(*environment, "server_version").value_or(""), 40);
  }
  // Of a restricted certificate only some; an answer that does not come is no reason to fail now.
  auto projects = server.Get("/1.0/projects");
  if (!projects) return out;
  if (const json::Value* list = json::Find(*projects, "metadata"); list != nullptr && list->IsArray())
    for (const json::Value& path : list->GetArray()) {
      if (!path.IsString() || out.projects.size() == 20) continue;
      const std::string_view text(path.GetString(), path.GetStringLength());
      out.projects.push_back(Printable(text.substr(text.rfind('/') + 1), 64));
    }
  return out;
}

}  // namespace

Result<TrustToken> ParseToken(std::string_view text) {
  const std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return BadToken("it is empty");
  text = text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
  if (text.size() > kMaxToken) return BadToken("it is longer than 64 KiB");
  auto bytes = base64::Decode(text);
  if (!bytes) return BadToken("not valid base64");
  auto document = json::Parse(*bytes, 4);
  if (!document || !document->IsObject()) return BadToken("what it holds is no JSON object");
  TrustToken out;
  out.text = text;
  auto name = TextOf(*document, "client_name", kMaxText), print = TextOf(*document, "fingerprint", 64),
       secret = TextOf(*document, "secret", kMaxText), until = TextOf(*document, "expires_at", 64);
  for (const auto* member : {&name, &print, &secret, &until})
    if (!*member) return member->error();
  out.client_name = Printable(*name, kMaxText);
  std::transform(print->begin(), print->end(), std::back_inserter(out.fingerprint),
                 [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (!IsHex64(out.fingerprint)) return BadToken("its fingerprint is none of SHA-256");
  if (secret->empty()) return BadToken("it has no secret");
  // Year 1 is the server's word for never.
  if (!until->starts_with("0001-")) out.expires_at = Printable(*until, 64);
  const json::Value* addresses = json::Find(*document, "addresses");
  if (addresses == nullptr || !addresses->IsArray() || addresses->Size() > kMaxAddresses)
    return BadToken("it has no list of addresses, or one of more than 64");
  for (const json::Value& entry : addresses->GetArray()) {
    if (!entry.IsString()) return BadToken("an address is no text");
    auto address = ParseAddress({entry.GetString(), entry.GetStringLength()});
    if (!address) return BadToken(address.error().message);
    if (std::find(out.addresses.begin(), out.addresses.end(), *address) == out.addresses.end())
      out.addresses.push_back(*std::move(address));
  }
  if (out.addresses.empty())
    return Error{
        CSB_E_INVALID, "the token names no address of its server",
        "set core.https_address on the server (incus config set core.https_address :8443) and make another",
        false};
  return out;
}

Result<Trusted> TrustServer(const TrustToken& token, const std::string& folder,
                            const std::function<void(const std::string&)>& tell) {
  auto mine = OwnIdentity(folder);
  if (!mine) return mine.error();
  if (Status s = MakeFolders(folder + "/servers", 0711); !s) return s.error();
  std::string strangers, silent;
  for (const Address& address : token.addresses) {
    auto certificate = FetchServerCertificate(address, kConnect);
    if (!certificate) {
      tell(certificate.error().message);
      silent += (silent.empty() ? "" : ", ") + address.Url();
      continue;
    }
    auto fingerprint = FingerprintOf(*certificate);
    if (!fingerprint) return fingerprint.error();
    if (*fingerprint != token.fingerprint) {
      // A machine of our own network may have an address that the server has in its.
      tell(address.Url() + " is another server than the token's: its certificate has the fingerprint " +
           *fingerprint + "; it was told nothing");
      strangers += (strangers.empty() ? "" : ", ") + address.Url();
      continue;
    }
    const std::string pin = PinOf(folder, address);
    const Candidate candidate(pin + "." + std::to_string(getpid()));
    if (Status s = ReplaceSmallFile(candidate.path(), *certificate); !s) return s.error();
    auto trusted = Ask(token, address,
                       {.url = address.Url(),
                        .ca = candidate.path(),
                        .certificate = mine->certificate,
                        .key = mine->key,
                        .any_name = true,
                        .tls13 = true});
    if (!trusted) return trusted;
    if (Status s = ReplaceSmallFile(pin, *certificate, true); !s) return s.error();
    if (Status s = SyncFile(pin); !s) return s.error();
    return trusted;
  }
  if (!strangers.empty())
    return Error{
        CSB_E_FORBIDDEN,
        "WRONG SERVER: " + strangers + " shows another certificate than the token's (" + token.fingerprint +
            "); nothing was sent to it, and it is not trusted",
        "someone may stand between here and the server, or the token is an old one: make another on the "
        "server itself, and compare the fingerprint there: incus info | grep fingerprint",
        false};
  return Error{
      CSB_E_UNAVAILABLE, "none of the addresses in the token answers: " + silent,
      "let this machine reach one of them, or set core.https_address on the server to one that it can "
      "reach and make another token",
      true};
}

}  // namespace csb::incus

// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cstdio>
#include <random>
#include <sstream>
#include <vector>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/http/acceptor.h"
#include "plugins/http/app.h"
#include "plugins/http/docs_page.h"
#include "plugins/http/listen.h"
#include "plugins/http/loop.h"
#include "plugins/http/openapi.h"
#include "plugins/http/reply.h"
#include "plugins/http/response_head.h"
#include "plugins/http/transport.h"
#include "plugins/mcp/sandbox_provider.h"

namespace csb::http {

namespace asio = boost::asio;
using asio::ip::tcp;
constexpr size_t kShortKey = 16;

using TlsContext = std::shared_ptr<asio::ssl::context>;

class Server::Impl {
 public:
  Impl(Settings settings, HostRef host, ServiceClient service, std::shared_ptr<const KeyRing> keys,
       TlsContext tls, std::vector<asio::ip::address> addresses, std::vector<int> inherited,
       std::shared_ptr<mcp::Provider> mcp)
      : app_(std::move(settings), host, service),
        limits_(app_.settings.max_connections, app_.settings.max_connections_per_address),
        tls_(std::move(tls)),
        addresses_(std::move(addresses)),
        inherited_(std::move(inherited)) {
    app_.origins = {.need_known_host = keys->empty(),
                    .allowed_hosts = app_.settings.allowed_hosts,
                    .allowed_origins = app_.settings.allowed_origins};
    app_.mcp = std::move(mcp);
    app_.openapi = OpenApiDocument();
    DocsPage docs = MakeDocsPage(app_.openapi);
    app_.docs = std::move(docs.html);
    app_.docs_fields = std::move(docs.fields);
    // Tells the requests of two runs apart in logs; it is no secret.
    std::ostringstream prefix;
    prefix << "h" << std::hex << std::random_device()() << "-";
    app_.request_id_prefix = prefix.str();
    char instance[17];
    std::snprintf(instance, sizeof instance, "%08x%08x", std::random_device()(), std::random_device()());
    app_.instance = instance;
    for (int i = 0; i < app_.settings.threads; ++i) loops_.push_back(std::make_unique<Loop>(keys));
  }

  ~Impl() {
    Stop();
    for (auto& loop : loops_) loop->Finish();
    for (auto& loop : loops_) loop->Join();
  }

  Status Start() {
    if (Status opened = inherited_.empty() ? Listen() : Adopt(); !opened) {
      acceptors_.clear();
      return opened;
    }
    for (auto& acceptor : acceptors_) {
      app_.host.LogInfo("listening on " + NameOfSocket(acceptor->fd(), tls_ != nullptr));
      asio::post(front().io(), [this, acceptor] {
        acceptor->Start([this](int fd, const tcp::endpoint& peer) { OnAccepted(fd, peer); });
      });
    }
    for (auto& loop : loops_) loop->Run();
    return {};
  }

  void Stop() {
    if (stopped_) return;
    stopped_ = true;
    asio::post(front().io(), [acceptors = acceptors_] {
      for (const auto& acceptor : acceptors) acceptor->Close();
    });
    for (auto& loop : loops_) loop->Drain();
  }

  void Reload() {
    const Settings& s = app_.settings;
    auto keys = LoadKeys(s.api_key, s.keys_file);
    if (!keys) {
      app_.host.LogError("the keys that were in use stay in use: " + keys.error().message);
    } else {
      for (auto& loop : loops_) loop->SetKeys(*keys);
      if (!s.keys_file.empty())
        app_.host.LogInfo("read " + s.keys_file + ": " + std::to_string((*keys)->size()) + " keys in use");
    }
    if (s.tls_cert.empty()) return;
    auto tls = LoadTls(s.tls_cert, s.tls_key);
    if (!tls)
      return app_.host.LogError("the certificate that was in use stays in use: " + tls.error().message);
    asio::post(front().io(), [this, tls = *std::move(tls)]() mutable { tls_ = std::move(tls); });
    app_.host.LogInfo("read " + s.tls_cert);
  }

 private:
  Loop& front() { return *loops_.front(); }  // the acceptors' own

  Status Listen() {
    uint16_t port = app_.settings.port;
    Status last;
    for (const auto& address : addresses_) {
      auto made = Acceptor::Listen(front().io(), app_.host, tcp::endpoint(address, port));
      if (!made) {
        // Of a name's addresses one is enough: "localhost" is ::1 too, on machines without IPv6 as well.
        last = std::move(made).error();
        if (addresses_.size() > 1 && last.error().code == CSB_E_NOT_FOUND) continue;
        return last;
      }
      port = (*made)->port();  // 0: the second address gets what the first one got
      acceptors_.push_back(*std::move(made));
    }
    return acceptors_.empty() ? std::move(last) : Status();
  }

  Status Adopt() {
    for (const int fd : inherited_) {
      auto made = Acceptor::Adopt(front().io(), app_.host, fd);
      if (!made) return std::move(made).error();
      acceptors_.push_back(*std::move(made));
    }
    return {};
  }

  void OnAccepted(int fd, const tcp::endpoint& peer) {
    auto slot = limits_.Admit(peer.address());
    if (slot == nullptr) return Refuse(fd);
    Loop& loop = *loops_[next_++ % loops_.size()];
    tcp::socket socket(loop.io());
    boost::system::error_code ec;
    socket.assign(peer.protocol(), fd, ec);
    if (ec) {
      close(fd);
      return app_.host.LogWarn("a connection could not be taken: " + ec.message());
    }
    loop.Add(app_,
             tls_ != nullptr ? TlsTransport(std::move(socket), tls_) : PlainTransport(std::move(socket)),
             std::move(slot), peer.port() == 0 ? "unix" : peer.address().to_string());
  }

  // Best effort: there is no connection object to wait for anything.
  void Refuse(int fd) {
    app_.host.Count("csb_http_refused_total", 1, R"({"reason":"connections"})");
    if (tls_ == nullptr) {
      Reply reply = ErrorReply(503, "too many connections", "close idle ones, or raise http.max_connections");
      const std::string text = ResponseHead({.close = true, .length = reply.body.size()}, reply) + reply.body;
      static_cast<void>(send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    }
    close(fd);
  }

  App app_;
  ConnectionLimits limits_;
  TlsContext tls_;  // on the front loop's thread once it runs
  const std::vector<asio::ip::address> addresses_;
  const std::vector<int> inherited_;  // instead of them
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::shared_ptr<Acceptor>> acceptors_;
  size_t next_ = 0;
  bool stopped_ = false;
};

Result<std::unique_ptr<Server>> Server::Create(HostRef host, ServiceClient service,
                                               std::shared_ptr<mcp::Provider> mcp) {
  Settings settings = Settings::From(host);
  auto keys = LoadKeys(settings.api_key, settings.keys_file);
  if (!keys) return std::move(keys).error();
  auto inherited = SocketsToListenOn(settings.listen_fds, !(*keys)->empty());
  if (!inherited) return std::move(inherited).error();
  std::vector<asio::ip::address> addresses;
  if (inherited->empty()) {
    auto named = AddressesToListenOn(settings.host, !(*keys)->empty());
    if (!named) return std::move(named).error();
    addresses = *std::move(named);
  }
  if (settings.tls_cert.empty() != settings.tls_key.empty())
    return Error{CSB_E_INVALID, "http.tls_cert and http.tls_key belong together", "set both, or neither",
                 false};
  if (!settings.api_key.empty() && settings.api_key.size() < kShortKey)
    host.LogWarn("http.api_key is short enough to be guessed; `openssl rand -hex 16` makes a good one");
  TlsContext tls;
  if (!settings.tls_cert.empty()) {
    auto loaded = LoadTls(settings.tls_cert, settings.tls_key);
    if (!loaded) return std::move(loaded).error();
    tls = *std::move(loaded);
  }
  if (Status good = CheckUserId(settings.mcp_user); !good) {
    Error error = good.error();
    error.message = "http.mcp_user: " + error.message;
    return error;
  }
  if (mcp == nullptr)
    mcp = mcp::MakeSandboxProvider(
        service, {.user = settings.mcp_user, .yield_after = host.Number("mcp.yield_after", 45)});
  return std::unique_ptr<Server>(
      new Server(std::make_unique<Impl>(std::move(settings), host, service, *std::move(keys), std::move(tls),
                                        std::move(addresses), *std::move(inherited), std::move(mcp))));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;
Status Server::Start(Finished) { return impl_->Start(); }
void Server::Stop() { impl_->Stop(); }
void Server::Reload() { impl_->Reload(); }

}  // namespace csb::http

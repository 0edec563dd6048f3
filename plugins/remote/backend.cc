// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/backend.h"

#include "clara_sandbox/cpp/identity.h"
#include "plugins/remote/mapping.h"
#include "plugins/remote/operations.h"
#include "plugins/remote/probe.h"

namespace csb::remote {

Result<std::unique_ptr<RemoteBackend>> RemoteBackend::Create(HostRef host) {
  auto options = ReadOptions(host);
  if (!options) return options.error();
  auto reactor = Reactor::Create("remote");
  if (!reactor) return reactor.error();
  auto links = Links::Create(**reactor, *options);
  if (!links) return links.error();
  if (options->in_clear)
    host.LogWarn("remote.url is plain HTTP: who can listen on the way reads the API key; use https");
  return std::unique_ptr<RemoteBackend>(new RemoteBackend(*std::move(reactor), *std::move(links)));
}

RemoteBackend::~RemoteBackend() { links_->Close(); }

Result<std::shared_ptr<Operation>> RemoteBackend::Submit(const RequestView& request, EventSink sink) {
  if (request.op == CSB_OP_PROBE) {
    Probe(links_, [sink](const std::string& result) { sink.Done(result); });
    return std::shared_ptr<Operation>();
  }
  // Which users a service has is its own business; it may have many that are not ours.
  const bool known = (request.op >= CSB_OP_CREATE && request.op <= CSB_OP_DESTROY) || IsRun(request.op) ||
                     IsProcess(request.op) || request.op == CSB_OP_CONTEXT_LIST ||
                     request.op == CSB_OP_CONTEXT_DELETE ||
                     (request.op >= CSB_OP_FILE_READ && request.op <= CSB_OP_FILE_STAT);
  if (!known) return Unsupported(request.op);
  if (Status s = CheckUserId(request.user); !s) return s.error();
  if (links_->all().empty())
    return Error{CSB_E_UNAVAILABLE, "no remote service is configured", "set remote.url (SANDBOX_API_URL)",
                 false};
  if (request.op == CSB_OP_FILE_READ) return StartRead(links_, request, std::move(sink));
  if (request.op == CSB_OP_FILE_WRITE) return StartWrite(links_, request, std::move(sink));
  if (IsProcess(request.op)) return StartProcess(links_, request, std::move(sink));
  return IsRun(request.op) ? StartRun(links_, request, std::move(sink))
                           : StartCall(links_, request, std::move(sink));
}

}  // namespace csb::remote

// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/testing/fake_service.h"

#include <utility>

namespace csb::testing {

class FakeService::Scripted : public Backend {
 public:
  static Result<std::unique_ptr<Scripted>> Create(HostRef) { return std::make_unique<Scripted>(); }

  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override {
    Answer answer;
    {
      const std::lock_guard lock(mutex);
      requests.push_back(Request::Copy(request));
      const auto it = answers.find(request.op);
      if (it == answers.end()) return Unsupported(request.op);
      answer = it->second;
    }
    return answer(request, std::move(sink));
  }

  std::mutex mutex;
  std::map<uint32_t, Answer> answers;
  std::vector<Request> requests;
};

namespace {

template <typename T>
T& Script(csb_backend* self) {
  return static_cast<T&>(detail::BackendTable<T>::Get(self));
}

}  // namespace

FakeService::FakeService(FakeHost& host) {
  using Table = detail::BackendTable<Scripted>;
  const auto* backend = static_cast<const csb_backend_v1*>(Table::GetInterface(CSB_BACKEND_V1));
  csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
  if (backend->create(host.table(), &self_, &error) != CSB_OK) throw std::bad_alloc();
  // A csb_service is a csb_backend to the functions of the table: both are opaque.
  table_ = {sizeof(csb_service_v1), 0, reinterpret_cast<csb_service*>(self_),
            [](csb_service* self, const csb_request* request, const csb_events* events, void* ctx,
               csb_op** out, csb_error* e) {
              static const auto* table =
                  static_cast<const csb_backend_v1*>(Table::GetInterface(CSB_BACKEND_V1));
              return table->submit(reinterpret_cast<csb_backend*>(self), request, events, ctx, out, e);
            },
            backend->calls};
}

FakeService::~FakeService() {
  using Table = detail::BackendTable<Scripted>;
  static_cast<const csb_backend_v1*>(Table::GetInterface(CSB_BACKEND_V1))->destroy(self_);
}

void FakeService::On(uint32_t op, Answer answer) {
  auto& script = Script<Scripted>(self_);
  const std::lock_guard lock(script.mutex);
  script.answers[op] = std::move(answer);
}

void FakeService::OnDone(uint32_t op, std::string result, std::string standard_output) {
  On(op, [result = std::move(result), text = std::move(standard_output)](const RequestView&, EventSink sink) {
    sink.Output(CSB_STREAM_STDOUT, text);
    sink.Done(result);
    return NoOperation();
  });
}

void FakeService::OnError(uint32_t op, Error error) {
  On(op, [error = std::move(error)](const RequestView&, EventSink sink) {
    sink.Fail(error);
    return NoOperation();
  });
}

std::vector<Request> FakeService::requests() const {
  auto& script = Script<Scripted>(self_);
  const std::lock_guard lock(script.mutex);
  return script.requests;
}

}  // namespace csb::testing

// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/http_transfer.h"

namespace csb {
namespace {

constexpr size_t kMaxHeaders = 64 << 10;
// Of a stream; libcurl has one download buffer for all transfers of a multi handle's connection.
constexpr long kDownloadBuffer = 256 << 10, kUploadBuffer = 512 << 10;

}  // namespace

Status HttpTransfer::Prepare(const HttpEndpoint& endpoint) {
  if (auto fine = CheckRequest(request); !fine) return fine;
  auto made = HttpHandle::Create(endpoint);
  if (!made) return made.error();
  handle = *std::move(made);
  CURL* curl = handle->curl();
  bool typed = false, listed = true;
  const auto list = [&](const char* header) {
    curl_slist* longer = curl_slist_append(headers.get(), header);
    listed = listed && longer != nullptr;
    if (longer == nullptr) return;
    static_cast<void>(headers.release());
    headers.reset(longer);
  };
  for (const std::string& header : request.headers) {
    list(header.c_str());
    typed = typed || curl_strnequal(header.c_str(), "Content-Type:", 13);
  }
  list("Expect:");  // no round trip before a large body
  if (!typed) list(request.body.empty() ? "Content-Type:" : "Content-Type: application/json");
  if (request.source) list("Transfer-Encoding: chunked");
  if (!listed) return Error{CSB_E_NO_CAPACITY, "libcurl: out of memory", "", true};

  const std::string url = endpoint.url + request.target;
  bool set = curl_easy_setopt(curl, CURLOPT_URL, url.c_str()) == CURLE_OK;
  set &= curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get()) == CURLE_OK;
  // Methods that carry a body say `Content-Length: 0` when there is none.
  if (request.source) {
    using Give = size_t (*)(char*, size_t, size_t, void*);
    const Give give = [](char* to, size_t size, size_t n, void* call) {
      return static_cast<HttpTransfer*>(call)->Read(to, size * n);
    };
    set &= curl_easy_setopt(curl, CURLOPT_POST, 1L) == CURLE_OK;
    set &= curl_easy_setopt(curl, CURLOPT_READFUNCTION, give) == CURLE_OK;
    set &= curl_easy_setopt(curl, CURLOPT_READDATA, this) == CURLE_OK;
    set &= curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, kUploadBuffer) == CURLE_OK;
    set &= curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
  } else if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    set &= curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                            static_cast<curl_off_t>(request.body.size())) == CURLE_OK;
    set &= curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data()) == CURLE_OK;
  } else if (request.method == "HEAD") {
    set &= curl_easy_setopt(curl, CURLOPT_NOBODY, 1L) == CURLE_OK;
  }
  if (request.method != "HEAD")
    set &= curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str()) == CURLE_OK;
  if (request.once || request.on_begin) {
    // Asked before each sending, also that which libcurl begins by itself when a kept connection turns out
    // dead.
    using Ask = int (*)(void*, char*, char*, int, int);
    const Ask ask = [](void* self, char*, char*, int, int) {
      auto& call = *static_cast<HttpTransfer*>(self);
      if (call.sent++ > 0 && call.request.once) return CURL_PREREQFUNC_ABORT;
      if (call.request.on_begin) call.request.on_begin();
      return CURL_PREREQFUNC_OK;
    };
    set &= curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, ask) == CURLE_OK;
    set &= curl_easy_setopt(curl, CURLOPT_PREREQDATA, this) == CURLE_OK;
  }
  if (request.on_data) set &= curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kDownloadBuffer) == CURLE_OK;
  using Take = size_t (*)(char*, size_t, size_t, void*);
  const Take head = [](char* data, size_t size, size_t n, void* call) {
    return static_cast<HttpTransfer*>(call)->Head({data, size * n});
  };
  const Take body = [](char* data, size_t size, size_t n, void* call) {
    return static_cast<HttpTransfer*>(call)->Body({data, size * n});
  };
  set &= curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, head) == CURLE_OK;
  set &= curl_easy_setopt(curl, CURLOPT_HEADERDATA, this) == CURLE_OK;
  set &= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body) == CURLE_OK;
  set &= curl_easy_setopt(curl, CURLOPT_WRITEDATA, this) == CURLE_OK;
  set &= curl_easy_setopt(curl, CURLOPT_PRIVATE, this) == CURLE_OK;
  if (!set) return Error{CSB_E_INTERNAL, Name() + ": libcurl refuses an option", "", false};
  return {};
}

size_t HttpTransfer::Head(std::string_view line) {
  progress = Clock::now();
  header_bytes += line.size();
  if (line.starts_with("HTTP/")) head_complete = false;  // another one, after a 1xx
  if (line == "\r\n" || line == "\n") {
    head_complete = true;
    long status = 0;
    curl_easy_getinfo(handle->curl(), CURLINFO_RESPONSE_CODE, &status);
    if (status >= 400 && request.source && refused) refused();
  }
  return header_bytes <= kMaxHeaders ? line.size() : Stop(HeadTooLarge());
}

size_t HttpTransfer::Body(std::string_view piece) {
  progress = Clock::now();
  long status = 0;
  curl_easy_getinfo(handle->curl(), CURLINFO_RESPONSE_CODE, &status);
  if (status / 100 == 2 && !TellHead()) return Stop(Cancelled());
  if (request.on_data && status / 100 == 2) {
    held = request.hold && request.hold();
    if (held) return CURL_WRITEFUNC_PAUSE;
    return request.on_data(piece) ? piece.size() : Stop(Cancelled());
  }
  if (piece.size() > request.max_body - response.body.size()) {
    const std::string bound = std::to_string(request.max_body);
    return Stop({CSB_E_TOO_LARGE, Name() + ": the answer is over " + bound + " bytes", "", false});
  }
  response.body.append(piece);
  return piece.size();
}

size_t HttpTransfer::Read(char* to, size_t room) {
  const size_t n = request.source(to, room);
  if (n == HttpRequest::kBroken) {
    failure = Cancelled();
    return CURL_READFUNC_ABORT;
  }
  starved = n == HttpRequest::kLater;
  if (starved) return CURL_READFUNC_PAUSE;
  progress = Clock::now();
  return n;
}

void HttpTransfer::Resume() {
  if (!waits()) return;
  held = starved = false;
  progress = Clock::now();
  curl_easy_pause(handle->curl(), CURLPAUSE_CONT);
}

bool HttpTransfer::TellHead() {
  if (!request.on_head || told_head) return true;
  told_head = true;
  FillHead();
  return request.on_head(response);
}

void HttpTransfer::FillHead() {
  CURL* curl = handle->curl();
  long status = 0;
  const char* type = nullptr;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
  response.status = static_cast<int>(status);
  if (type != nullptr) response.content_type = type;
  // The last request's, and of several headers the first.
  curl_header* header = nullptr;
  if (curl_easy_header(curl, "ETag", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
    response.etag = header->value;
  response.headers.clear();
  for (const std::string& name : request.keep)
    if (curl_easy_header(curl, name.c_str(), 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
      response.headers.emplace_back(name, header->value);
}

size_t HttpTransfer::Stop(Error why) {
  failure = std::move(why);
  return 0;
}

Error HttpTransfer::HeadTooLarge() const {
  return {CSB_E_TOO_LARGE, Name() + ": the headers of the answer are over 64 KiB", "", false};
}

Result<HttpResponse> HttpTransfer::Outcome(CURLcode code) {
  if (failure) return *failure;
  // libcurl bounds one line of the head itself, and calls it so (CURLE_TOO_LARGE, 100, since 8.6).
  if ((code == CURLE_OUT_OF_MEMORY && header_bytes > 0 && !head_complete) || static_cast<int>(code) == 100)
    return HeadTooLarge();
  // Half a head is an answer to it.
  if (code == CURLE_OK && !head_complete) code = CURLE_PARTIAL_FILE;
  if (code == CURLE_ABORTED_BY_CALLBACK && sent > 1)
    return Error{CSB_E_UNAVAILABLE, Name() + ": the server closed the connection without an answer", "",
                 true};
  if (code != CURLE_OK) return handle->Failure(Name(), code);
  FillHead();
  if (response.status / 100 == 2 && !TellHead()) return Cancelled();
  return std::move(response);
}

}  // namespace csb

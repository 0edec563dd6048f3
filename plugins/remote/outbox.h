// SPDX-License-Identifier: Apache-2.0
//
// outbox.h: what waits for output credit, in its order: bytes, events, the end. Used on one thread.
//
//   box.Bytes(CSB_STREAM_STDOUT, "…");
//   box.Done(result);          // once what is before it has gone
//   box.Flush();               // again whenever there is more credit
#pragma once

#include <deque>
#include <string>
#include <utility>

#include "clara_sandbox/cpp/event_sink.h"

namespace csb::remote {

class Outbox {
 public:
  explicit Outbox(EventSink sink) : sink_(std::move(sink)) {}

  void Bytes(uint32_t stream, std::string data) {
    if (!data.empty()) Add({Kind::kBytes, stream, std::move(data), {}});
  }
  // Copies only what there is no credit for.
  void Pass(uint32_t stream, std::string_view data) {
    if (items_.empty()) data.remove_prefix(sink_.Output(stream, data));
    Bytes(stream, std::string(data));
  }
  void Event(uint32_t event, std::string json) { Add({Kind::kEvent, event, std::move(json), {}}); }
  void Done(std::string result) { Add({Kind::kDone, 0, std::move(result), {}}); }
  void Fail(Error error) { Add({Kind::kFail, 0, "", std::move(error)}); }
  bool empty() const { return items_.empty(); }

  void Flush() {
    while (!items_.empty()) {
      Item& item = items_.front();
      switch (item.kind) {
        case Kind::kBytes:
          item.sent += sink_.Output(item.id, std::string_view(item.text).substr(item.sent));
          if (item.sent < item.text.size()) return;
          break;
        case Kind::kEvent:
          sink_.Event(item.id, item.text);
          break;
        case Kind::kDone:
          sink_.Done(item.text);
          break;
        case Kind::kFail:
          sink_.Fail(item.error);
          break;
      }
      items_.pop_front();
    }
  }

 private:
  enum class Kind { kBytes, kEvent, kDone, kFail };
  struct Item {
    Kind kind;
    uint32_t id;
    std::string text;
    Error error;
    size_t sent = 0;
  };
  void Add(Item item) {
    items_.push_back(std::move(item));
    Flush();
  }

  const EventSink sink_;
  std::deque<Item> items_;
};

}  // namespace csb::remote

// SPDX-License-Identifier: Apache-2.0
//
// output_gate.h: the way of one operation's output to its host: within the credit, and within the bounds
// that the request set (docs/operations.md, `output`): the first bytes at once, the last at the end, what
// lies between counted.
//
//   OutputGate gate(&channel, id, credit, command.head, command.tail);
//   if (size_t room = gate.Room(CSB_STREAM_STDOUT)) gate.Put(CSB_STREAM_STDOUT, Read(room));
//   if (gate.SendTails(false)) channel.Send(Kind::kDone, …);
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "agent/channel/channel.h"
#include "agent/channel/tail_buffer.h"

namespace csb::agent {

class OutputGate {
 public:
  OutputGate(Channel* channel, uint32_t id, uint64_t credit, std::optional<uint64_t> head,
             std::optional<uint64_t> tail);

  void AddCredit(uint64_t bytes);
  // The host is gone: everything is taken, nothing sent.
  void Detach() { channel_ = nullptr; }
  // How much of this stream (CSB_STREAM_STDOUT or _STDERR) it takes now; 0: none until there is credit or
  // room.
  size_t Room(uint8_t stream) const;
  void Put(uint8_t stream, std::string_view bytes);
  // What was never put: counted as written and as missing.
  void Miss(uint8_t stream, uint64_t bytes);
  // These bytes of the stream are missing at this place.
  void Gap(uint8_t stream, uint64_t bytes);
  // The last bytes. False: call again when there is credit or room. `cut`: what credit does not cover is
  // dropped instead, since an end that waited for a slow reader would not be one.
  bool SendTails(bool cut);

  uint64_t bytes(uint8_t stream) const { return Of(stream).bytes; }
  uint64_t dropped(uint8_t stream) const { return Of(stream).dropped + Of(stream).gaps; }

 private:
  struct Part {
    uint8_t stream = 0;
    uint64_t head_left = 0;
    TailBuffer tail;
    uint64_t bytes = 0;
    uint64_t dropped = 0;
    uint64_t gaps = 0;  // missing too, and told at their place
    bool told = false;
  };
  Part& Of(uint8_t stream) { return parts_[stream == 1 ? 0 : 1]; }
  const Part& Of(uint8_t stream) const { return parts_[stream == 1 ? 0 : 1]; }
  void TellDropped(uint8_t stream, uint64_t bytes);
  bool SendTail(Part& part, bool cut);

  Channel* channel_;
  uint32_t id_;
  uint64_t credit_;
  bool bounded_;
  std::array<Part, 2> parts_;
};

}  // namespace csb::agent

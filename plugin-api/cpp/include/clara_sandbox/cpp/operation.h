// SPDX-License-Identifier: Apache-2.0
//
// operation.h: what a submitter may ask of an operation under way. A backend derives it when
// its operations have input, wait for credit or can be cancelled:
//
//   class Tail : public csb::Operation {
//     void Cancel(csb_status cause) override { Wake(cause); }
//     void Credit(uint64_t) override { Wake(CSB_OK); }
//   };
//
// Calls come on any thread and may overlap (Input never overlaps Input). None is made after
// Done or Fail, after close, or before Submit has returned. They must not block. The
// Operation is released at close, or when its backend releases it, whichever comes last.
#pragma once

#include <cstdint>
#include <string_view>

#include "clara_sandbox/abi.h"
#include "clara_sandbox/cpp/result.h"

namespace csb {

class Operation {
 public:
  virtual ~Operation() = default;
  // Bytes for stdin or a file, within the credit granted by EventSink::InputCredit; borrowed.
  // eof: the last piece (may be empty).
  virtual Status Input(std::string_view /*data*/, bool /*eof*/) { return {}; }
  // There is more output credit; EventSink::credit() already has it.
  virtual void Credit(uint64_t /*bytes*/) {}
  // End soon: Done (with partial output) or Fail({cause}). May come several times.
  virtual void Cancel(csb_status /*cause*/) {}
};

}  // namespace csb

// SPDX-License-Identifier: Apache-2.0
//
// stdio_frontend.h: MCP over standard input and output, for one client that started this process
// (modelcontextprotocol.io, transports: stdio). One message a line; nothing else goes to stdout.
//
// The end of input ends the host once the calls under way have ended and their answers are written,
// so a script can pipe its messages in. A client that reads no more (its end of stdout is closed)
// ends it at once: what runs is cancelled. A client that does not read for a while is not read from
// any further, until it does; nothing deadlocks and memory stays bounded.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "clara_sandbox/cpp/frontend.h"
#include "plugins/common/unique_fd.h"
#include "plugins/mcp/session.h"
#include "plugins/mcp/tools.h"
#include "plugins/stdio/line_writer.h"

namespace csb::stdio {

class StdioFrontend : public Frontend {
 public:
  static constexpr size_t kMaxLine = 16 << 20;

  // Options stdio.user, stdio.only, stdio.max_output.
  static Result<std::unique_ptr<StdioFrontend>> Create(HostRef host, ServiceClient service);
  // On these descriptors instead of 0 and 1; borrowed.
  static Result<std::unique_ptr<StdioFrontend>> CreateOn(HostRef host, ServiceClient service, int in,
                                                         int out);
  ~StdioFrontend() override;

  Status Start(Finished finished) override;
  void Stop() override;

 private:
  StdioFrontend(HostRef host, ServiceClient service, mcp::ToolOptions options, int in, int out,
                UniqueFd wake);
  void Read();
  // One round of reading; false: the conversation is over, with this exit code.
  bool ReadOnce(class LineSplitter& lines, int* exit_code);
  void Wake();
  // A client that sends no more waits for nothing else.
  bool AllSaid() const { return input_over_ && session_->OnlyListens() && writer_->queued() == 0; }

  const HostRef host_;
  const ServiceClient service_;
  const mcp::ToolOptions options_;
  const int in_, out_;
  const UniqueFd
      wake_;  // eventfd: stop, the writer has room or is broken, after the input's end also each answer
  std::atomic<bool> stopping_ = false, broken_ = false, input_over_ = false;
  Finished finished_;
  // The session outlives its calls' answers, the writer the session.
  std::unique_ptr<LineWriter> writer_;
  std::unique_ptr<mcp::McpSession> session_;
  std::thread reader_;
};

}  // namespace csb::stdio

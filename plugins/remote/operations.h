// SPDX-License-Identifier: Apache-2.0
//
// operations.h: the operations on a user's sandbox at the service, each begun by its function. What the
// service sends goes to the sink as its credit allows; a cancel breaks the connection, on which the service
// ends the run.
#pragma once

#include <memory>

#include "clara_sandbox/cpp/event_sink.h"
#include "clara_sandbox/cpp/operation.h"
#include "clara_sandbox/cpp/request.h"
#include "plugins/remote/links.h"

namespace csb::remote {

// create status stop restart destroy, file_list file_stat file_delete.
std::shared_ptr<Operation> StartCall(std::shared_ptr<Links> links, const RequestView& request,
                                     EventSink sink);
// Programs in the background.
std::shared_ptr<Operation> StartProcess(std::shared_ptr<Links> links, const RequestView& request,
                                        EventSink sink);
// execute shell exec pip_install pip_list unzip.
std::shared_ptr<Operation> StartRun(std::shared_ptr<Links> links, const RequestView& request, EventSink sink);
std::shared_ptr<Operation> StartRead(std::shared_ptr<Links> links, const RequestView& request,
                                     EventSink sink);
std::shared_ptr<Operation> StartWrite(std::shared_ptr<Links> links, const RequestView& request,
                                      EventSink sink);

}  // namespace csb::remote

/* SPDX-License-Identifier: Apache-2.0
 *
 * service.h: what the host offers a frontend: the same shape as a backend, for all users.
 * Interface id "csb.service/1".
 *
 * The service checks every field of a payload, finds or makes the user's sandbox, sets the
 * deadline from the payload's "timeout" (seconds), counts, and passes the events through.
 */
#ifndef CLARA_SANDBOX_SERVICE_H
#define CLARA_SANDBOX_SERVICE_H

#include "operation.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CSB_SERVICE_V1 "csb.service/1"

typedef struct csb_service csb_service; /* the host's own */

typedef struct csb_service_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  csb_service *self;
  /* [any] As in csb_backend_v1. request.deadline_ns is an upper bound of the caller's; the
   * service may set an earlier one. */
  csb_status (*submit)(csb_service *self, const csb_request *request, const csb_events *events,
                       void *ctx, csb_op **out, csb_error *error);
  const csb_op_calls *calls;
} csb_service_v1;

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * backend.h: where code runs. Interface id "csb.backend/1".
 *
 * A backend answers the operations it knows and CSB_E_UNSUPPORTED to the others. It makes
 * a sandbox only on CSB_OP_CREATE; an operation that needs one and finds none ends with
 * CSB_E_NO_SANDBOX and has done nothing. The host serializes create, stop, restart and
 * destroy of one user within its process; other host processes may act at the same time.
 */
#ifndef CLARA_SANDBOX_BACKEND_H
#define CLARA_SANDBOX_BACKEND_H

#include "host.h"
#include "operation.h"
#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CSB_BACKEND_V1 "csb.backend/1"

typedef struct csb_backend csb_backend; /* one instance; the plugin's own */

typedef struct csb_backend_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [control] Reads its configuration and starts what it needs; touches no sandbox and no
   * network, returns within a second. On error *out stays untouched. */
  csb_status (*create)(const csb_host *host, csb_backend **out, csb_error *error);
  /* [control] After every operation has ended and been closed. Sandboxes live on. */
  void (*destroy)(csb_backend *backend);
  /* [any] Starts an operation; does not block. If it returns an error the request stays
   * with the host and the backend must not touch `ctx` or `events`. */
  csb_status (*submit)(csb_backend *backend, const csb_request *request,
                       const csb_events *events, void *ctx, csb_op **out, csb_error *error);
  const csb_op_calls *calls; /* static */
} csb_backend_v1;

#ifdef __cplusplus
}
#endif
#endif

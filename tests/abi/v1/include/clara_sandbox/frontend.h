/* SPDX-License-Identifier: Apache-2.0
 *
 * frontend.h: how requests come in. Interface id "csb.frontend/1".
 */
#ifndef CLARA_SANDBOX_FRONTEND_H
#define CLARA_SANDBOX_FRONTEND_H

#include "host.h"
#include "plugin.h"
#include "service.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CSB_FRONTEND_V1 "csb.frontend/1"

typedef struct csb_frontend csb_frontend; /* one instance; the plugin's own */

/* Implemented by the host. */
typedef struct csb_frontend_events {
  uint32_t struct_size;
  uint32_t reserved;
  /* [any] The frontend has come to its own end (stdin closed, fatal error) and asks the
   * host to shut down with this exit code. At most once. */
  void (*on_finished)(void *ctx, int32_t exit_code);
} csb_frontend_events;

typedef struct csb_frontend_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [control] Reads its configuration; opens nothing yet. */
  csb_status (*create)(const csb_host *host, const csb_service_v1 *service, csb_frontend **out,
                       csb_error *error);
  /* [control] Binds and serves on threads of its own; returns once it accepts requests. */
  csb_status (*start)(csb_frontend *frontend, const csb_frontend_events *events, void *ctx,
                      csb_error *error);
  /* [control] Accepts nothing new, returns at once. Operations under way go on until they
   * end, or the host cancels them after its grace time. Idempotent. */
  void (*stop)(csb_frontend *frontend);
  /* [control] After every operation it submitted has ended: sends what is left to send
   * (for at most a second), closes, joins its threads. */
  void (*destroy)(csb_frontend *frontend);
  /* [control] SIGHUP: reads again the files that may change in place (keys, certificates).
   * Optional: may be NULL. */
  void (*reload)(csb_frontend *frontend);
} csb_frontend_v1;

#ifdef __cplusplus
}
#endif
#endif

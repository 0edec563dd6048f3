/* SPDX-License-Identifier: Apache-2.0
 *
 * host.h: what the host offers a plugin, as a table and not as exported symbols, so that
 * a plugin is testable against a fake. Valid from create until destroy has returned.
 */
#ifndef CLARA_SANDBOX_HOST_H
#define CLARA_SANDBOX_HOST_H

#include "abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CSB_LOG_TRACE 0
#define CSB_LOG_DEBUG 1
#define CSB_LOG_INFO 2
#define CSB_LOG_WARN 3
#define CSB_LOG_ERROR 4

typedef struct csb_host csb_host;
struct csb_host {
  uint32_t struct_size;
  uint32_t reserved;
  void *impl; /* the host's own */
  /* [any] One line; the host adds time, plugin name and level. Never log keys or code. */
  void (*log)(const csb_host *host, int32_t level, csb_str message);
  /* [any] The value of an option of the one schema by its full key ("http.port",
   * "sandbox.data_dir"), checked and normalised: sizes in bytes, times in seconds, booleans
   * "1"/"0". {NULL,0} for an unset option without default and for an unknown key.
   * The text lives as long as the table. */
  csb_str (*config)(const csb_host *host, const char *key);
  /* [any] CLOCK_MONOTONIC, nanoseconds. */
  uint64_t (*now_ns)(const csb_host *host);
  /* [any] Adds to a counter. labels: JSON object of strings, or empty. */
  void (*count)(const csb_host *host, csb_str metric, csb_str labels, double value);
  /* [any] Runs fn(ctx) on a worker thread, once, soon; fn may block. */
  csb_status (*post)(const csb_host *host, void (*fn)(void *ctx), void *ctx);
  /* [any] A later interface by id, or NULL. */
  const void *(*get_extension)(const csb_host *host, const char *id);
};

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * abi.h: the few types every other header uses, and the words they use.
 *
 * Borrowed.  A csb_str, or a pointer to a struct, that is passed to a function is
 *   valid until that function returns and never after. Whoever needs it longer copies.
 *   No heap ownership ever crosses between host and plugin.
 *
 * Thread tags.  Each function below carries exactly one:
 *   [control]  calls are serialized by the caller, on any thread; none overlaps another
 *              [control] call on the same plugin instance.
 *   [worker]   may run concurrently with every other call, but never with another
 *              [worker] call on the same handle.
 *   [any]      may be called from any thread at any time in the handle's life, also
 *              from inside a callback, and returns without blocking.
 *
 * Evolution.  Structs only grow, at the end. The first field is struct_size, set by the
 *   struct's maker to sizeof(its own version). Test with CSB_HAS before touching a field
 *   that was not in the first release. A change of meaning gets a new interface id.
 *
 * Exceptions never cross: every function here behaves as C++ noexcept.
 */
#ifndef CLARA_SANDBOX_ABI_H
#define CLARA_SANDBOX_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CSB_ABI_MAJOR 1u
#define CSB_ABI_MINOR 0u

/* UTF-8 or raw bytes; not NUL terminated; {NULL, 0} is the empty string. */
typedef struct csb_str {
  const char *data;
  size_t size;
} csb_str;

/* True when *ptr is large enough to have `field` and the field is not null or zero. */
#define CSB_HAS(ptr, field)                                                              \
  ((ptr) != NULL &&                                                                      \
   (ptr)->struct_size >=                                                                 \
       (size_t)((const char *)&(ptr)->field - (const char *)(ptr)) + sizeof((ptr)->field) && \
   (ptr)->field)

/* Status codes. Fixed numbers: append only, never reuse. */
typedef int32_t csb_status;
#define CSB_OK 0
#define CSB_E_CANCELLED 1    /* cancelled by the caller or by shutdown */
#define CSB_E_BAD_REQUEST 2  /* malformed: not JSON, not UTF-8, unknown operation */
#define CSB_E_INVALID 3      /* well formed, but a field is wrong; the message names it */
#define CSB_E_UNAUTHORIZED 4 /* no or wrong credentials */
#define CSB_E_FORBIDDEN 5    /* known, but not allowed (another user's sandbox, EACCES) */
#define CSB_E_NOT_FOUND 6    /* no such file, sandbox, backend */
#define CSB_E_CONFLICT 7     /* clashes with what exists (other limits, file is a folder) */
#define CSB_E_TOO_LARGE 8    /* body, file or field over its bound */
#define CSB_E_RATE_LIMITED 9 /* too many requests of this user */
#define CSB_E_UNAVAILABLE 10 /* the backend or its engine cannot be reached now */
#define CSB_E_NO_CAPACITY 11 /* all sandboxes are in use, or a resource is exhausted */
#define CSB_E_DEADLINE 12    /* the operation's deadline passed */
#define CSB_E_UNSUPPORTED 13 /* this backend does not offer the operation */
#define CSB_E_GONE 14        /* the sandbox ended while the operation ran; it may have run */
#define CSB_E_NO_SANDBOX 15  /* the user has no live sandbox; nothing was run */
#define CSB_E_IO 16          /* the operating system said no; the message has the errno */
#define CSB_E_INTERNAL 17    /* a fault of ours */
#define CSB_E_NO_SPACE 18    /* the workspace or its disk is full */

/* Filled by a callee that returns anything but CSB_OK. The caller owns the memory, sets
 * struct_size and zeroes the rest; texts are NUL terminated and truncated to fit. */
typedef struct csb_error {
  uint32_t struct_size;
  csb_status code;
  uint32_t retryable;  /* 1: the same call may succeed later */
  uint32_t reserved;   /* 0 */
  char message[1024];  /* what failed, on what */
  char hint[512];      /* what the operator or user can do next; may be empty */
} csb_error;

#ifdef __cplusplus
}
#endif
#endif

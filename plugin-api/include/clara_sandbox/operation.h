/* SPDX-License-Identifier: Apache-2.0
 *
 * operation.h: the one request shape, used by a frontend at the service and by the
 * service at a backend, and the events that answer it.
 *
 * Life of an operation:
 *   submit returns an error  -> no callback ever comes, there is no handle.
 *   submit returns CSB_OK    -> *out was written before the first callback; then any number
 *                               of on_output, on_event, on_input_credit; then on_done
 *                               exactly once and last. The handle lives until close.
 *   Callbacks of one operation never overlap. They never come from inside a call made on
 *   that operation (submit, input, credit, cancel, close), but may come on another thread
 *   before submit has returned. A callback must not block.
 */
#ifndef CLARA_SANDBOX_OPERATION_H
#define CLARA_SANDBOX_OPERATION_H

#include "abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Operation ids: append only. The name (lower case, without CSB_OP_) stands in logs and on
 * the agent's channel. docs/operations.md has each payload and result. */
#define CSB_OP_PROBE 1u   /* backend: can it serve, and what does it enforce; no user */
#define CSB_OP_LIST 2u    /* all sandboxes that exist; no user */
#define CSB_OP_CREATE 3u  /* idempotent: make the user's sandbox live */
#define CSB_OP_STATUS 4u
#define CSB_OP_STOP 5u    /* end its processes, keep its files */
#define CSB_OP_RESTART 6u
#define CSB_OP_DESTROY 7u /* {"purge":true} removes the files too */
#define CSB_OP_EXECUTE 16u
#define CSB_OP_SHELL 17u
#define CSB_OP_EXEC 18u /* an argument vector, no shell */
#define CSB_OP_PIP_INSTALL 19u
#define CSB_OP_PIP_LIST 20u
#define CSB_OP_CONTEXT_LIST 24u   /* interpreters that keep their state between executes */
#define CSB_OP_CONTEXT_DELETE 25u /* ends one */
#define CSB_OP_FILE_READ 32u
#define CSB_OP_FILE_WRITE 33u
#define CSB_OP_FILE_DELETE 34u
#define CSB_OP_FILE_LIST 35u
#define CSB_OP_FILE_STAT 36u
#define CSB_OP_UNZIP 37u
/* Programs that go on after the operation that started them, by handle. */
#define CSB_OP_PROCESS_START 48u
#define CSB_OP_PROCESS_LIST 49u
#define CSB_OP_PROCESS_OUTPUT 50u /* what it printed, from an offset */
#define CSB_OP_PROCESS_INPUT 51u  /* input: bytes for its stdin */
#define CSB_OP_PROCESS_SIGNAL 52u
#define CSB_OP_PROCESS_WAIT 53u
#define CSB_OP_PROCESS_ATTACH 54u /* both ways, until it ends or the operation is cancelled, which leaves it */
#define CSB_OP_PROCESS_RESIZE 55u /* of its terminal */
#define CSB_OP_PROCESS_REMOVE 56u /* ends it, forgets its output */
#define CSB_OP_HEALTH 64u  /* service only: state of each backend; answers at once */
#define CSB_OP_INFO 65u    /* service only */
#define CSB_OP_EXPLAIN 66u /* service only: why a backend would be chosen */
#define CSB_OP_METRICS 67u /* service only: Prometheus text on stream CSB_STREAM_DATA */

/* Output streams. */
#define CSB_STREAM_STDOUT 1u
#define CSB_STREAM_STDERR 2u
#define CSB_STREAM_DATA 3u /* a file's bytes */

/* Events (on_event). Unknown ids are ignored. */
#define CSB_EVENT_META 1u     /* file_read: {"path","size","mode","mtime","offset","length"}, before any data */
#define CSB_EVENT_DROPPED 2u  /* {"stream":1,"bytes":N}: N bytes are missing at this place of the stream */
#define CSB_EVENT_PROGRESS 3u /* {"message":"…"} */
#define CSB_EVENT_RESULT 4u   /* execute: one thing that the code showed: {"kind","data":{"text/plain":"…",…}} */

/* csb_request.flags */
#define CSB_REQUEST_INPUT 1u /* the caller will send input and end it with eof */

typedef struct csb_request {
  uint32_t struct_size;
  uint32_t op;            /* CSB_OP_* */
  uint32_t flags;         /* CSB_REQUEST_* */
  uint32_t reserved;      /* 0 */
  csb_str user;           /* exact id: UTF-8, 1..256 bytes, no NUL or control characters */
  csb_str request_id;     /* for logs; may be empty */
  csb_str payload;        /* a JSON object; empty means {} */
  uint64_t deadline_ns;   /* csb_host.now_ns scale (CLOCK_MONOTONIC); 0: none */
  uint64_t output_credit; /* bytes of output the callee may send before the first credit() */
} csb_request;

typedef struct csb_outcome {
  uint32_t struct_size;
  csb_status code;
  uint32_t retryable; /* 1: nothing was done, or doing it twice is harmless */
  uint32_t reserved;  /* 0 */
  csb_str result;     /* JSON object when code is CSB_OK, else empty */
  csb_str message;    /* when not CSB_OK: what failed, on what */
  csb_str hint;       /* what to do next; may be empty */
} csb_outcome;

/* Implemented by the submitter. All members are required. The table must outlive the
 * operation; `ctx` is the submitter's and is handed back as it was given. */
typedef struct csb_events {
  uint32_t struct_size;
  uint32_t reserved;
  void (*on_output)(void *ctx, uint32_t stream, csb_str data); /* takes data.size credit */
  void (*on_event)(void *ctx, uint32_t event, csb_str json);   /* takes no credit */
  void (*on_input_credit)(void *ctx, uint64_t bytes); /* that many more may be sent by input() */
  void (*on_done)(void *ctx, const csb_outcome *outcome);
} csb_events;

/* An operation under way; made by submit, ended by close, opaque to the submitter. */
typedef struct csb_op csb_op;

/* The four calls on an operation; part of every table that has submit. */
typedef struct csb_op_calls {
  uint32_t struct_size;
  uint32_t reserved;
  /* [worker] Bytes for stdin or a file; at most the credit that on_input_credit granted.
   * eof = 1 ends the input (data may be empty). After on_done: no effect, CSB_OK. */
  csb_status (*input)(csb_op *op, csb_str data, uint32_t eof);
  /* [any] Lets the callee send `bytes` more output. */
  void (*credit)(csb_op *op, uint64_t bytes);
  /* [any] Asks for an early end; idempotent, harmless after on_done, which still comes
   * once. cause: CSB_E_CANCELLED, CSB_E_DEADLINE. */
  void (*cancel)(csb_op *op, csb_status cause);
  /* [worker] Frees the handle. Allowed from inside on_done or any time after it. */
  void (*close)(csb_op *op);
} csb_op_calls;

#ifdef __cplusplus
}
#endif
#endif

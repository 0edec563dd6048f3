/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin of the first release: C11, built with the headers beside it, and never changed. It
 * answers every operation with its payload; input is echoed until its end; cancel ends it.
 * Each later host must still load it and work with it.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clara_sandbox/backend.h"

struct csb_backend {
  const csb_host *host;
  csb_str greeting;
};

/* One thread answers; what it waits for arrives under the lock. */
struct csb_op {
  csb_backend *backend;
  const csb_events *events;
  void *ctx;
  uint32_t flags;
  char *payload;
  size_t payload_size;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  uint64_t credit;
  char input[4096];
  size_t input_size;
  int eof;
  csb_status cause;
  int references; /* the thread's and the submitter's */
};

static csb_str text(const char *s) {
  csb_str str = {s, strlen(s)};
  return str;
}

static void release(csb_op *op) {
  int last;
  pthread_mutex_lock(&op->lock);
  last = --op->references == 0;
  pthread_mutex_unlock(&op->lock);
  if (!last) return;
  pthread_mutex_destroy(&op->lock);
  pthread_cond_destroy(&op->changed);
  free(op->payload);
  free(op);
}

/* 0: told to end. */
static int send_all(csb_op *op, const char *data, size_t size) {
  while (size > 0) {
    csb_str piece;
    csb_status cause;
    pthread_mutex_lock(&op->lock);
    while (op->credit == 0 && op->cause == CSB_OK) pthread_cond_wait(&op->changed, &op->lock);
    piece.data = data;
    piece.size = size < op->credit ? size : (size_t)op->credit;
    op->credit -= piece.size;
    cause = op->cause;
    pthread_mutex_unlock(&op->lock);
    if (cause != CSB_OK) return 0;
    op->events->on_output(op->ctx, CSB_STREAM_STDOUT, piece);
    data += piece.size;
    size -= piece.size;
  }
  return 1;
}

static int echo_input(csb_op *op) {
  for (;;) {
    char data[sizeof op->input];
    size_t size;
    int eof;
    csb_status cause;
    op->events->on_input_credit(op->ctx, sizeof op->input);
    pthread_mutex_lock(&op->lock);
    while (op->input_size < sizeof op->input && !op->eof && op->cause == CSB_OK)
      pthread_cond_wait(&op->changed, &op->lock);
    size = op->input_size;
    memcpy(data, op->input, size);
    op->input_size = 0;
    eof = op->eof;
    cause = op->cause;
    pthread_mutex_unlock(&op->lock);
    if (cause != CSB_OK || !send_all(op, data, size)) return 0;
    if (eof) return 1;
  }
}

static void *run(void *arg) {
  csb_op *op = arg;
  csb_outcome outcome;
  int ok = send_all(op, op->payload, op->payload_size);
  if (ok && (op->flags & CSB_REQUEST_INPUT) != 0) ok = echo_input(op);
  memset(&outcome, 0, sizeof outcome);
  outcome.struct_size = sizeof outcome;
  if (ok) {
    outcome.result = text("{\"release\":1}");
  } else {
    outcome.code = op->cause;
    outcome.message = text("told to end");
  }
  op->events->on_done(op->ctx, &outcome);
  release(op);
  return NULL;
}

static csb_status fail(csb_error *error, csb_status code, const char *message) {
  error->code = code;
  strncpy(error->message, message, sizeof error->message - 1);
  return code;
}

static csb_status create(const csb_host *host, csb_backend **out, csb_error *error) {
  csb_backend *backend = calloc(1, sizeof *backend);
  if (backend == NULL) return fail(error, CSB_E_NO_CAPACITY, "out of memory");
  backend->host = host;
  backend->greeting = host->config(host, "release-one.greeting");
  host->log(host, CSB_LOG_INFO, backend->greeting);
  host->count(host, text("release_one_created"), text(""), 1);
  *out = backend;
  return CSB_OK;
}

static void destroy(csb_backend *backend) { free(backend); }

static csb_status submit(csb_backend *backend, const csb_request *request, const csb_events *events, void *ctx,
                         csb_op **out, csb_error *error) {
  pthread_t thread;
  csb_op *op;
  if (request->op == CSB_OP_UNZIP) return fail(error, CSB_E_UNSUPPORTED, "no archives here");
  op = calloc(1, sizeof *op);
  if (op == NULL || (op->payload = malloc(request->payload.size + 1)) == NULL) {
    free(op);
    return fail(error, CSB_E_NO_CAPACITY, "out of memory");
  }
  op->backend = backend;
  op->events = events;
  op->ctx = ctx;
  op->flags = request->flags;
  if (request->payload.size > 0) memcpy(op->payload, request->payload.data, request->payload.size);
  op->payload_size = request->payload.size;
  op->credit = request->output_credit;
  op->references = 2;
  pthread_mutex_init(&op->lock, NULL);
  pthread_cond_init(&op->changed, NULL);
  *out = op;
  if (pthread_create(&thread, NULL, run, op) != 0) {
    *out = NULL;
    op->references = 1;
    release(op);
    return fail(error, CSB_E_NO_CAPACITY, "no thread");
  }
  pthread_detach(thread);
  return CSB_OK;
}

static csb_status input(csb_op *op, csb_str data, uint32_t eof) {
  csb_status code = CSB_OK;
  pthread_mutex_lock(&op->lock);
  if (data.size > sizeof op->input - op->input_size) {
    code = CSB_E_INVALID;
  } else {
    if (data.size > 0) memcpy(op->input + op->input_size, data.data, data.size);
    op->input_size += data.size;
    op->eof = op->eof || eof;
  }
  pthread_cond_signal(&op->changed);
  pthread_mutex_unlock(&op->lock);
  return code;
}

static void credit(csb_op *op, uint64_t bytes) {
  pthread_mutex_lock(&op->lock);
  op->credit += bytes;
  pthread_cond_signal(&op->changed);
  pthread_mutex_unlock(&op->lock);
}

static void cancel(csb_op *op, csb_status cause) {
  pthread_mutex_lock(&op->lock);
  if (op->cause == CSB_OK) op->cause = cause;
  pthread_cond_signal(&op->changed);
  pthread_mutex_unlock(&op->lock);
}

static void close_op(csb_op *op) { release(op); }

static const csb_op_calls calls = {sizeof(csb_op_calls), 0, input, credit, cancel, close_op};
static const csb_backend_v1 table = {sizeof(csb_backend_v1), 0, create, destroy, submit, &calls};

static const void *get_interface(const char *id) { return strcmp(id, CSB_BACKEND_V1) == 0 ? &table : NULL; }

static const csb_option options[] = {{sizeof(csb_option), CSB_OPTION_STRING, "release-one.greeting",
                                      "RELEASE_ONE_GREETING", "hello", "What it logs when made.", NULL, 0, 0}};

static const csb_plugin plugin = {sizeof(csb_plugin), CSB_PLUGIN_MAGIC, CSB_ABI_MAJOR,  CSB_ABI_MINOR,
                                  CSB_KIND_BACKEND,   1,                "release-one",  "1.0.0",
                                  "Echoes, as the first release did",   options,        get_interface};

CSB_EXPORT const csb_plugin *csb_plugin_entry(void);
CSB_EXPORT const csb_plugin *csb_plugin_entry(void) { return &plugin; }

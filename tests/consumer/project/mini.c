/* SPDX-License-Identifier: Apache-2.0
 *
 * mini.c: the smallest backend in C that the host can use:
 *
 *   clara-sandbox run --sandbox.plugin_dirs=FOLDER --backend mini-c -c anything
 *
 * It says that it is there (probe), makes a sandbox of nothing (create, list, stop, destroy) and answers
 * whatever is run with "hello", from a worker of the host since callbacks must not come from inside submit.
 */
#include <stdlib.h>
#include <string.h>

#include "clara_sandbox/backend.h"

struct csb_backend {
  const csb_host* host;
};

struct csb_op {
  const csb_events* events;
  void* ctx;
  uint64_t credit;
  uint32_t what; /* CSB_OP_* */
};

static csb_str text(const char* s) {
  csb_str str = {s, strlen(s)};
  return str;
}

/* docs/operations.md has the result of each operation. */
static const char* result_of(uint32_t what) {
  switch (what) {
    case CSB_OP_PROBE:
      return "{\"available\":true,\"version\":\"1.0.0\",\"isolation\":\"none: it runs nothing\"}";
    case CSB_OP_LIST:
      return "{\"sandboxes\":[]}";
    case CSB_OP_STOP:
      return "{\"status\":\"stopped\"}";
    case CSB_OP_DESTROY:
      return "{\"status\":\"deleted\",\"files_preserved\":false}";
    case CSB_OP_CREATE:
    case CSB_OP_RESTART:
    case CSB_OP_STATUS:
      return "{\"status\":\"running\",\"enforced\":{}}";
    default:
      return "{\"exit_code\":0,\"cause\":\"exit\"}";
  }
}

static void answer(void* ctx) {
  csb_op* op = ctx;
  csb_outcome outcome = {sizeof outcome, CSB_OK, 0, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}};
  outcome.result = text(result_of(op->what));
  if (op->what >= CSB_OP_EXECUTE && op->credit >= 5)
    op->events->on_output(op->ctx, CSB_STREAM_STDOUT, text("hello"));
  op->events->on_done(op->ctx, &outcome); /* op may be gone after this */
}

static csb_status create(const csb_host* host, csb_backend** out, csb_error* error) {
  csb_backend* backend = malloc(sizeof *backend);
  if (backend == NULL) {
    error->code = CSB_E_NO_CAPACITY;
    strcpy(error->message, "out of memory");
    return CSB_E_NO_CAPACITY;
  }
  backend->host = host;
  *out = backend;
  return CSB_OK;
}

static void destroy(csb_backend* backend) { free(backend); }

static csb_status submit(csb_backend* backend, const csb_request* request, const csb_events* events,
                         void* ctx, csb_op** out, csb_error* error) {
  csb_op* op = malloc(sizeof *op);
  if (op == NULL) {
    error->code = CSB_E_NO_CAPACITY;
    strcpy(error->message, "out of memory");
    return CSB_E_NO_CAPACITY;
  }
  op->events = events;
  op->ctx = ctx;
  op->credit = request->output_credit;
  op->what = request->op;
  *out = op;
  if (backend->host->post(backend->host, answer, op) != CSB_OK) {
    *out = NULL;
    free(op);
    error->code = CSB_E_UNAVAILABLE;
    strcpy(error->message, "the host is shutting down");
    return CSB_E_UNAVAILABLE;
  }
  return CSB_OK;
}

static csb_status input(csb_op* op, csb_str data, uint32_t eof) {
  (void)op, (void)data, (void)eof;
  return CSB_OK;
}
static void credit(csb_op* op, uint64_t bytes) { (void)op, (void)bytes; }
static void cancel(csb_op* op, csb_status cause) { (void)op, (void)cause; /* ends soon anyway */ }
static void close_op(csb_op* op) { free(op); }

static const csb_op_calls calls = {sizeof(csb_op_calls), 0, input, credit, cancel, close_op};
static const csb_backend_v1 table = {sizeof(csb_backend_v1), 0, create, destroy, submit, &calls};

static const void* get_interface(const char* id) { return strcmp(id, CSB_BACKEND_V1) == 0 ? &table : NULL; }

static const csb_plugin plugin = {
    sizeof(csb_plugin), CSB_PLUGIN_MAGIC, CSB_ABI_MAJOR,      CSB_ABI_MINOR, CSB_KIND_BACKEND, 0,
    "mini-c",           "1.0.0",          "Says hello, in C", NULL,          get_interface};

CSB_EXPORT const csb_plugin* csb_plugin_entry(void);
CSB_EXPORT const csb_plugin* csb_plugin_entry(void) { return &plugin; }

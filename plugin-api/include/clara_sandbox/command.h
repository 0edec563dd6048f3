/* SPDX-License-Identifier: Apache-2.0
 *
 * command.h: commands of a plugin's own on the command line, as in
 * `clara-sandbox incus trust TOKEN`. Interface id "csb.command/1"; optional: a plugin of
 * any kind may offer it beside that of its kind.
 *
 * The host finds the plugin by its name, enabled or not, and makes no instance of it: a
 * command has the plugin's options and log through the host's table, and nothing else.
 */
#ifndef CLARA_SANDBOX_COMMAND_H
#define CLARA_SANDBOX_COMMAND_H

#include "host.h"
#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CSB_COMMAND_V1 "csb.command/1"

/* Implemented by the host. */
typedef struct csb_command_output {
  uint32_t struct_size;
  uint32_t reserved;
  /* [any] Prints `text` as it is, on CSB_STREAM_STDOUT or CSB_STREAM_STDERR (operation.h).
   * Not after run has returned. */
  void (*print)(void *ctx, uint32_t stream, csb_str text);
} csb_command_output;

typedef struct csb_command {
  uint32_t struct_size;
  uint32_t reserved;
  const char *name;      /* [a-z][a-z0-9-]{0,31}, unique in the plugin */
  const char *arguments; /* as usage shows them: "TOKEN", "[NAME]"; may be empty */
  const char *summary;   /* one line */
  const char *details;   /* paragraphs of the help text; may be empty */
} csb_command;

typedef struct csb_command_v1 {
  uint32_t struct_size;
  uint32_t command_count;      /* 1 or more */
  const csb_command *commands; /* command_count of them, commands->struct_size bytes apart */
  /* [worker] Does what the command does, blocking, and returns when it is done. `name` is
   * one of commands; the argument_count arguments are the words behind it on the command
   * line, unchecked, any bytes but NUL. CSB_E_INVALID: the arguments are wrong. The user
   * ends a command that takes too long with a signal: whatever it leaves must bear that. */
  csb_status (*run)(const csb_host *host, const char *name, const csb_str *arguments,
                    uint32_t argument_count, const csb_command_output *output, void *ctx,
                    csb_error *error);
} csb_command_v1;

#ifdef __cplusplus
}
#endif
#endif

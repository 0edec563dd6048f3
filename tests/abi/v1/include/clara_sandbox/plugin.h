/* SPDX-License-Identifier: Apache-2.0
 *
 * plugin.h: the one symbol a plugin exports, and the descriptor it returns.
 *
 *   CSB_EXPORT const csb_plugin *csb_plugin_entry(void) { return &my_plugin; }
 *
 * The entry function does nothing but return a static descriptor: the host calls it when
 * it scans a folder, enabled or not. A plugin is trusted code: it runs with the host's
 * rights, and this ABI is no security boundary.
 */
#ifndef CLARA_SANDBOX_PLUGIN_H
#define CLARA_SANDBOX_PLUGIN_H

#include "abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CSB_PLUGIN_MAGIC 0x50425343u /* "CSBP" in little endian */
#define CSB_PLUGIN_ENTRY "csb_plugin_entry"

#if defined(__GNUC__)
#define CSB_EXPORT __attribute__((visibility("default")))
#else
#define CSB_EXPORT
#endif

#define CSB_KIND_BACKEND 1u
#define CSB_KIND_FRONTEND 2u

/* Types of an option; the host parses, checks and normalises. */
#define CSB_OPTION_STRING 1u
#define CSB_OPTION_INT 2u     /* decimal, 64 bit signed, within min..max */
#define CSB_OPTION_FLOAT 3u   /* decimal, finite, within min..max */
#define CSB_OPTION_BOOL 4u    /* true/false/yes/no/on/off/1/0 */
#define CSB_OPTION_SIZE 5u    /* 512m, 512MiB, 1g: bytes, powers of 1024; "unlimited" is 0 */
#define CSB_OPTION_SECONDS 6u /* 30, 1.5, 15m, 1h */
#define CSB_OPTION_CHOICE 7u  /* one of `choices` */
#define CSB_OPTION_PATH 8u
#define CSB_OPTION_SECRET 9u /* a string that is never printed */

typedef struct csb_option {
  uint32_t struct_size;
  uint32_t type;
  const char *key;           /* full key: "NAME.key", NAME being the plugin's */
  const char *env;           /* environment names, space separated, first wins; or NULL */
  const char *default_value; /* as a user would write it; NULL: unset */
  const char *help;          /* one sentence, with the unit */
  const char *choices;       /* CSB_OPTION_CHOICE: space separated; else NULL */
  double min, max;           /* INT, FLOAT, SIZE, SECONDS; both 0: no bound */
} csb_option;

typedef struct csb_plugin {
  uint32_t struct_size; /* first, so that a mismatch can be told from any version */
  uint32_t magic;       /* CSB_PLUGIN_MAGIC */
  uint32_t abi_major;   /* CSB_ABI_MAJOR the plugin was built with */
  uint32_t abi_minor;
  uint32_t kind;           /* CSB_KIND_* */
  uint32_t option_count;
  const char *name;        /* [a-z][a-z0-9-]{0,31}, unique in the host */
  const char *version;     /* semantic version of the plugin */
  const char *description; /* one line */
  const csb_option *options; /* option_count of them, options->struct_size bytes apart */
  /* [any] The table for an interface id ("csb.backend/1", "csb.frontend/1"), or NULL. */
  const void *(*get_interface)(const char *id);
} csb_plugin;

#ifdef __cplusplus
}
#endif
#endif

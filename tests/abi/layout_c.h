/* SPDX-License-Identifier: Apache-2.0
 *
 * layout_c.h: what layout_c.c offers the test.
 */
#ifndef CSB_TESTS_ABI_LAYOUT_C_H
#define CSB_TESTS_ABI_LAYOUT_C_H

#include "clara_sandbox/host.h"

#ifdef __cplusplus
extern "C" {
#endif

/* CSB_HAS(host, get_extension), evaluated by a C compiler. */
int csb_test_has(const csb_host *host);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The headers and their layout as C11, pedantic; also that the macros work in C.
 */
#include "tests/abi/layout.inc"
#include "tests/abi/layout_c.h"

int csb_test_has(const csb_host *host) { return CSB_HAS(host, get_extension) ? 1 : 0; }

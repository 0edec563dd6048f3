// SPDX-License-Identifier: Apache-2.0
//
// charset.c: what libarchive hears when it asks for the character set of the locale.
//
// The agent is a static binary that runs in any image, and no locale but "C" can be counted on
// there (C.UTF-8 is a file of the image). In "C" libarchive drops every name in UTF-8 that is not
// ASCII. The linker sends its calls of nl_langinfo (and those of nobody else who links
// dynamically) here: -Wl,--wrap=nl_langinfo, see CMakeLists.txt and ld(1).
#include <langinfo.h>

char* __real_nl_langinfo(nl_item item);
char* __wrap_nl_langinfo(nl_item item);

char* __wrap_nl_langinfo(nl_item item) {
  static char utf8[] = "UTF-8";
  return item == CODESET ? utf8 : __real_nl_langinfo(item);
}

// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/plugin.h"

#include "clara_sandbox/cpp/frontend.h"
#include "plugins/stdio/stdio_frontend.h"

namespace {

constexpr csb_option kOptions[] = {
    csb::Option({.key = "stdio.user",
                 .env = "SANDBOX_USER",
                 .default_value = "default",
                 .help = "Whose sandbox the tools use when a call names no user_id."}),
    csb::Option({.key = "stdio.only",
                 .type = CSB_OPTION_BOOL,
                 .default_value = "no",
                 .help = "Refuse calls for any other user than stdio.user."}),
    csb::Option({.key = "stdio.max_output",
                 .type = CSB_OPTION_SIZE,
                 .default_value = "30000",
                 .help = "Most output in one answer, bytes: half from its start, half from its end.",
                 .min = 1000,
                 .max = 4 << 20}),
};
constexpr csb::PluginDescriptor kPlugin{.name = "stdio",
                                        .version = CSB_VERSION,
                                        .description = "MCP over standard input and output",
                                        .options = kOptions};

}  // namespace

CSB_PLUGIN_FRONTEND(csb::stdio::StdioFrontend, kPlugin)

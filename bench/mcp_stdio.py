#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tool call that does next to nothing, over stdio: clara-sandbox beside an echo tool on the official Node SDK.

Use: bench/mcp_stdio.py BINARY MODULES [CALLS]
BINARY: clara-sandbox, built with optimization. MODULES: a folder with node_modules of tests/mcp (node_test.sh makes
one, mcp-clients in the build folder). The call of ours, list_processes, goes through the service to the sandbox's
agent and back. With csb-mcp-fixture beside BINARY (script/build bench csb-mcp-fixture) the same call is made to the
same frontend over a service that answers at once: a no-op, as the echo is. All are asked in turns by one raw client.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ECHO = """
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
const server = new McpServer({ name: 'echo', version: '1' });
server.tool('echo', async () => ({ content: [{ type: 'text', text: 'ok' }] }));
await server.connect(new StdioServerTransport());
"""
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, command, cwd=None):
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.number = 0
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {},
                                "clientInfo": {"name": "bench", "version": "1"}})
        self.ready = time.perf_counter() - self.started
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def say(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.number += 1
        self.say({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"{self.process.args[0]} ended")
            answer = json.loads(line)
            if answer.get("id") == self.number:
                return answer

    def call(self, tool):
        start = time.perf_counter()
        answer = self.ask("tools/call", {"name": tool, "arguments": {}})
        took = time.perf_counter() - start
        if "result" not in answer or answer["result"].get("isError"):
            raise SystemExit(f"{tool}: {answer}")
        return took

    def cpu(self):
        with open(f"/proc/{self.process.pid}/schedstat", encoding="ascii") as file:
            own = int(file.read().split()[0]) / 1e9
        total = 0.0
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{thread}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0]) / 1e9
            except OSError:
                pass
        return max(own, total)

    def resident(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)


def row(what, ours, theirs, unit, goal):
    print(f"| {what:<28} | {ours:9.2f} {unit:<3} | Node SDK echo {theirs:9.2f} {unit:<3} | {ours / theirs:5.2f} x | {goal:<8} |")


def main():
    binary, modules = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    calls = int(sys.argv[3]) if len(sys.argv) > 3 else 4000
    folder = tempfile.mkdtemp(prefix="csb-bench-")
    os.chmod(folder, 0o711)
    script = os.path.join(modules, "bench_echo.mjs")
    with open(script, "w", encoding="utf-8") as file:
        file.write(ECHO)
    ours_command = [binary, "stdio", "--user", "bench", "--sandbox.mode=bubblewrap",
                    *(f"--sandbox.{name}={folder}/{kind}" for name, kind in
                      (("data_dir", "data"), ("state_dir", "state"), ("runtime_dir", "run")))]
    try:
        ready = [[], []]
        for _ in range(7):
            for i, command in enumerate((ours_command, ["node", script])):
                server = Server(command, modules)
                ready[i].append(server.ready)
                server.end()
        ours, theirs = Server(ours_command, modules), Server(["node", script], modules)
        fixture = os.path.join(os.path.dirname(binary), "csb-mcp-fixture")
        layer = [Server([fixture, "--stdio"], modules)] if os.path.exists(fixture) else []
        ours.ask("tools/call", {"name": "run_shell", "arguments": {"command": "true"}})  # makes the sandbox
        asked = [(ours, "list_processes"), (theirs, "echo"), *((server, "list_processes") for server in layer)]
        times, cpu = [[] for _ in asked], [0.0 for _ in asked]
        for server, tool in asked * 200:  # all are warm
            server.call(tool)
        for _ in range(10):
            for i, (server, tool) in enumerate(asked):
                before = server.cpu()
                times[i] += [server.call(tool) for _ in range(calls // 10)]
                cpu[i] += server.cpu() - before
        middle = [sorted(each)[len(each) // 2] * 1e6 for each in times]
        cost = [each * 1e6 / len(times[0]) for each in cpu]
        for each in cost[2:]:
            row("no-op: server CPU a call", each, cost[1], "us", "<= 0.3 x")
            row("no-op: p50 of a call", middle[2], middle[1], "us", "")
        row("to the agent: server CPU", *cost[:2], "us", "")
        row("to the agent: p50 of a call", *middle[:2], "us", "")
        row("resident memory", ours.resident(), theirs.resident(), "MiB", "<= 0.2 x")
        row("time to ready (median)", *(sorted(each)[len(each) // 2] * 1e3 for each in ready), "ms", "<= 0.1 x")
        for server, _ in asked:
            server.end()
    finally:
        os.unlink(script)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

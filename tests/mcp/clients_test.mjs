// SPDX-License-Identifier: Apache-2.0
//
// The official client libraries, of both eras, and the inspector's command line against a server over stdio and one
// over HTTP:
//   CSB_MCP_URL=http://127.0.0.1:8080/mcp CSB_MCP_USER=http node clients_test.mjs SERVER [ARGUMENT…]
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Client as BothErasClient, StreamableHTTPClientTransport as BothErasHttp } from "@modelcontextprotocol/client";
import { StdioClientTransport as BothErasStdio } from "@modelcontextprotocol/client/stdio";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [command, ...args] = process.argv.slice(2);
const url = process.env.CSB_MCP_URL;
const kTools = ["execute_python", "run_shell", "install_package", "read_file", "write_file", "list_files", "unzip_file",
                "start_process", "process_output", "write_stdin", "signal", "list_processes", "wait", "read_output", "reset_python"];
const kTransports = ["stdio", "http"];

// A run that shows that it lives, and whether one has stopped doing so, which takes a moment.
const kBeat = "rm -f beat; while :; do echo x >> beat; sleep 0.05; done";
const kIsStill = "test -s beat || exit 1; for i in 1 2 3 4 5 6 7 8 9; do a=$(wc -c < beat); sleep 0.2; " +
                 "[ $a = $(wc -c < beat) ] && echo still && exit 0; done; echo it runs";

// Over HTTP another user's sandbox, so that the two do not see each other's files.
const inputOf = (transport, input) => transport === "http" ? { user_id: process.env.CSB_MCP_USER, ...input } : input;

async function connect(transport) {
  const client = new Client({ name: "test", version: "1" });
  const faults = [];
  client.onerror = (error) => faults.push(error);
  await client.connect(transport === "http" ? new StreamableHTTPClientTransport(new URL(url))
      : new StdioClientTransport({ command, args, stderr: "inherit", env: process.env }));
  return { client, faults, call: (name, input, options) =>
    client.callTool({ name, arguments: inputOf(transport, input) }, undefined, options) };
}

for (const transport of kTransports) describe(`the client library over ${transport}`, () => {
  let session;
  before(async () => { session = await connect(transport); });
  after(async () => {
    await session.client.close();
    assert.deepEqual(session.faults, [], "something that is no message came, or an answer to nothing");
  });

  it("agrees on a version and sees the server", () => {
    assert.equal(session.client.getServerVersion().name, "clara-sandbox");
    assert.ok(session.client.getServerCapabilities().tools);
    assert.match(session.client.getInstructions(), /sandbox/);
  });

  it("pings", () => session.client.ping());

  it("lists the tools, and so compiles their output schemas", async () => {
    const { tools, nextCursor } = await session.client.listTools();
    assert.deepEqual(tools.map((tool) => tool.name), kTools);
    assert.equal(nextCursor, undefined);
  });

  // callTool checks structuredContent against the schema and throws where it does not conform.
  it("calls each tool", async () => {
    const { call } = session;
    const python = await call("execute_python", { code: "print(sum(range(10)))" });
    assert.equal(python.content[0].text, "45\n");
    assert.equal(python.structuredContent.success, true);
    const shell = await call("run_shell", { command: "echo hi" });
    assert.equal(shell.structuredContent.output, "hi\n");
    assert.ok(!(await call("write_file", { path: "sdk/f.txt", content: "text €" })).isError);
    assert.equal((await call("read_file", { path: "sdk/f.txt" })).content[0].text, "text €");
    const list = await call("list_files", { path: "sdk" });
    assert.deepEqual(list.structuredContent.entries.map((entry) => entry.name), ["f.txt"]);
    await call("run_shell", { command: "tar cf sdk.tar sdk" });
    assert.ok(!(await call("unzip_file", { path: "sdk.tar", destination: "unpacked" })).isError);
    assert.equal((await call("read_file", { path: "unpacked/sdk/f.txt" })).content[0].text, "text €");
    const install = await call("install_package", { package: "./none.whl" });
    assert.equal(install.isError, true);
  });

  it("gets failures as results and misuse as errors", async () => {
    const { call, client } = session;
    const failed = await call("run_shell", { command: "exit 4" });
    assert.equal(failed.isError, true);
    assert.equal(failed.structuredContent.exit_code, 4);
    const bad = await call("run_shell", {});
    assert.equal(bad.isError, true);
    assert.match(bad.content[0].text, /command/);
    await assert.rejects(call("no_such_tool", {}), { code: -32602 });
    await assert.rejects(client.listTools({ cursor: "x" }), { code: -32602 });
    await assert.rejects(client.listPrompts(), /prompts/);
  });

  it("reads files as resources", async () => {
    const { call, client } = session;
    await call("write_file", { path: "res/ünï.txt", content: "text €" });
    const { resourceTemplates } = await client.listResourceTemplates();
    assert.match(resourceTemplates[0].uriTemplate, /^sandbox:/);
    const uri = `sandbox://${transport === "http" ? process.env.CSB_MCP_USER : ""}/workspace/res/${encodeURIComponent("ünï.txt")}`;
    assert.equal((await client.readResource({ uri })).contents[0].text, "text €");
    await assert.rejects(client.readResource({ uri: "sandbox:///workspace/none" }), { code: -32002 });
    await assert.rejects(client.listResources({ cursor: "x" }), { code: -32602 });
    if (transport === "stdio")
      assert.ok((await client.listResources()).resources.some((resource) => resource.uri === uri));
  });

  it("cancels a call that is under way", async () => {
    const stop = new AbortController();
    const running = session.call("run_shell", { command: kBeat }, { signal: stop.signal });
    setTimeout(() => stop.abort("enough"), 300);
    await assert.rejects(running);
    assert.equal((await session.call("run_shell", { command: kIsStill })).content[0].text, "still\n");
  });

  it("hears progress, which rises", async () => {
    const steps = [];
    await session.call("run_shell", { command: "for i in 1 2 3 4; do echo step $i; sleep 0.4; done" },
                       { onprogress: (step) => steps.push(step) });
    assert.ok(steps.length >= 2, `${steps.length} steps`);
    for (let i = 1; i < steps.length; ++i) assert.ok(steps[i].progress > steps[i - 1].progress);
    assert.match(steps[0].message, /step/);
  });

  it("runs calls side by side", async () => {
    const start = Date.now();
    const outputs = await Promise.all([...Array(8).keys()].map(async (i) =>
      (await session.call("run_shell", { command: `sleep 1; echo ${i}` })).structuredContent.output));
    assert.deepEqual(outputs, [...Array(8).keys()].map((i) => `${i}\n`));
    assert.ok(Date.now() - start < 6000);
  });

  it("gets a bounded answer to a flood", async () => {
    const { structuredContent } = await session.call("run_shell", { command: "head -c 3000000 /dev/zero | tr '\\0' x" });
    assert.ok(structuredContent.truncated);
    assert.ok(structuredContent.output.length < 31_000);
  });

  it("closes without delay", async () => {
    const other = await connect(transport);
    const start = Date.now();
    await other.client.close();
    assert.ok(Date.now() - start < 1900, "it had to be killed");
  });
});

const kModes = [["legacy", "legacy", "2025-11-25"], ["auto", "auto", "2026-07-28"], ["modern", { pin: "2026-07-28" }, "2026-07-28"]];
for (const transport of kTransports) for (const [era, mode, version] of kModes)
  describe(`the client library of both eras, ${era}, over ${transport}`, () => {
    let client;
    const call = (name, input, options) => client.callTool({ name, arguments: inputOf(transport, input) }, options);
    before(async () => {
      client = new BothErasClient({ name: "test", version: "1" }, { versionNegotiation: { mode } });
      await client.connect(transport === "http" ? new BothErasHttp(new URL(url))
          : new BothErasStdio({ command, args, stderr: "inherit", env: process.env }));
    });
    after(() => client.close());

    it("agrees on a version, lists and calls", async () => {
      assert.equal(client.getNegotiatedProtocolVersion(), version);
      assert.deepEqual((await client.listTools()).tools.map((tool) => tool.name), kTools);
      const shell = await call("run_shell", { command: "echo hi" });
      assert.equal(shell.structuredContent.output, "hi\n");
      assert.equal((await call("run_shell", { command: "exit 4" })).isError, true);
      await assert.rejects(call("no_such_tool", {}), { code: -32602 });
      assert.ok((await client.listResourceTemplates()).resourceTemplates.length > 0);
      const uri = "sandbox:///workspace/none";
      await assert.rejects(client.readResource({ uri }), (error) => [-32602, -32002].includes(error.code));
    });

    it("hears progress and cancels", async () => {
      const steps = [];
      await call("run_shell", { command: "for i in 1 2 3; do echo step $i; sleep 0.3; done" },
                 { onprogress: (step) => steps.push(step) });
      assert.ok(steps.length >= 1);
      for (let i = 1; i < steps.length; ++i) assert.ok(steps[i].progress > steps[i - 1].progress);
      const stop = new AbortController();
      const running = call("run_shell", { command: kBeat }, { signal: stop.signal });
      setTimeout(() => stop.abort("enough"), 300);
      await assert.rejects(running);
      assert.equal((await call("run_shell", { command: kIsStill })).content[0].text, "still\n");
    });
  });

describe("the inspector", { concurrency: 3 }, () => {
  const bin = path.join(path.dirname(createRequire(import.meta.url).resolve("@modelcontextprotocol/inspector/package.json")),
                        "../../.bin/mcp-inspector");
  // The exit code and output of one command of its CLI.
  const inspect = (transport, ...options) => new Promise((resolve) => {
    const target = transport === "http" ? [url] : [command, ...args];
    execFile(process.execPath, [bin, "--cli", ...target, ...options], { timeout: 120_000 },
             (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }));
  });

  for (const transport of kTransports) for (const era of ["legacy", "auto", "modern"])
    it(`finds nothing to complain about in the list, ${era}, over ${transport}`, async () => {
      const { code, stdout, stderr } = await inspect(transport, "--method", "tools/list", "--strict", "--protocol-era", era);
      assert.equal(code, 0, stderr);
      assert.deepEqual(JSON.parse(stdout).tools.map((tool) => tool.name), kTools);
    });

  for (const transport of kTransports)
    it(`calls a tool over ${transport}`, async () => {
      const { code, stdout, stderr } = await inspect(transport, "--method", "tools/call", "--tool-name", "execute_python",
                                                     "--tool-arg", "code=print(6*7)", "--protocol-era", "auto");
      assert.equal(code, 0, stderr);
      assert.equal(JSON.parse(stdout).content[0].text, "42\n");
    });
});

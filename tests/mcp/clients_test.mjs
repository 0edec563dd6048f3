// SPDX-License-Identifier: Apache-2.0
//
// The official client library and the inspector's command line against a server over stdio:
//   node clients_test.mjs SERVER [ARGUMENT…]
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const [command, ...args] = process.argv.slice(2);
const kTools = ["execute_python", "run_shell", "install_package", "read_file", "write_file", "list_files", "unzip_file"];

async function connect(...more) {
  const client = new Client({ name: "test", version: "1" });
  const transport = new StdioClientTransport({ command, args: [...args, ...more], stderr: "inherit", env: process.env });
  const faults = [];
  client.onerror = (error) => faults.push(error);
  await client.connect(transport);
  return { client, faults, call: (name, input, options) => client.callTool({ name, arguments: input }, undefined, options) };
}

describe("the client library", () => {
  let session;
  before(async () => { session = await connect(); });
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
    assert.match(tools[0].description, /fresh/);
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
    await assert.rejects(client.listResources(), /resources/);
  });

  it("cancels a call that is under way", async () => {
    const stop = new AbortController();
    const running = session.call("run_shell", { command: "sleep 30" }, { signal: stop.signal });
    setTimeout(() => stop.abort("enough"), 300);
    await assert.rejects(running);
    assert.equal((await session.call("run_shell", { command: "echo on" })).structuredContent.output, "on\n");
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
    const other = await connect();
    const start = Date.now();
    await other.client.close();
    assert.ok(Date.now() - start < 1900, "it had to be killed");
  });
});

describe("the inspector", () => {
  const bin = path.join(path.dirname(createRequire(import.meta.url).resolve("@modelcontextprotocol/inspector/package.json")),
                        "../../.bin/mcp-inspector");
  // The exit code and output of one command of its CLI.
  const inspect = (...options) => new Promise((resolve) => {
    execFile(process.execPath, [bin, "--cli", command, ...args, ...options], { timeout: 120_000 },
             (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }));
  });

  it("finds nothing to complain about in the list", async () => {
    const { code, stdout, stderr } = await inspect("--method", "tools/list", "--strict");
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout).tools.map((tool) => tool.name), kTools);
  });

  it("calls a tool", async () => {
    const { code, stdout, stderr } = await inspect("--method", "tools/call", "--tool-name", "execute_python",
                                                   "--tool-arg", "code=print(6*7)");
    assert.equal(code, 0, stderr);
    assert.equal(JSON.parse(stdout).content[0].text, "42\n");
  });

  for (const era of ["legacy", "auto"])
    it(`is served in the era ${era}`, async () => {
      const { code, stderr } = await inspect("--method", "tools/list", "--protocol-era", era);
      assert.equal(code, 0, stderr);
    });
});

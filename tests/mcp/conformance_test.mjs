// SPDX-License-Identifier: Apache-2.0
//
// The official conformance suite against bin/csb-mcp-fixture: every scenario that a revision's requirements score, with
// the number of its checks. The suite passes over what it cannot reach, so both are asserted: that the server answered,
// and how much was checked.
//   CSB_BINARY_DIR=build/dev node conformance_test.mjs
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

// Checks that pass; each has at least the one of its wire schema.
const kExpected = {
  "2025-11-25": {
    "server-initialize": 3, "logging-set-level": 2, "ping": 2, "completion-complete": 2, "tools-list": 3,
    "tools-call-simple-text": 2, "tools-call-image": 2, "tools-call-audio": 2, "tools-call-embedded-resource": 2,
    "tools-call-mixed-content": 2, "tools-call-with-logging": 2, "tools-call-error": 2, "tools-call-with-progress": 2,
    "tools-call-sampling": 2, "tools-call-elicitation": 2, "elicitation-sep1034-defaults": 6,
    "server-sse-multiple-streams": 1, "elicitation-sep1330-enums": 6, "resources-list": 2, "resources-read-text": 2,
    "resources-read-binary": 2, "resources-templates-read": 2, "resources-subscribe": 2, "resources-unsubscribe": 2,
    "prompts-list": 2, "prompts-get-simple": 2, "prompts-get-with-args": 2, "prompts-get-embedded-resource": 2,
    "prompts-get-with-image": 2, "dns-rebinding-protection": 2,
  },
  "2026-07-28": {
    "server-stateless": 30, "completion-complete": 2, "tools-list": 4, "tools-call-simple-text": 2,
    "tools-call-image": 2, "tools-call-audio": 2, "tools-call-embedded-resource": 2, "tools-call-mixed-content": 2,
    "tools-call-error": 2, "tools-call-with-progress": 2, "server-sse-multiple-streams": 1, "resources-list": 2,
    "resources-read-text": 2, "resources-read-binary": 2, "resources-templates-read": 2,
    "sep-2164-resource-not-found": 4, "prompts-list": 2, "prompts-get-simple": 2, "prompts-get-with-args": 2,
    "prompts-get-embedded-resource": 2, "prompts-get-with-image": 2, "dns-rebinding-protection": 2, "caching": 8,
    "input-required-result-basic-elicitation": 3, "input-required-result-basic-sampling": 3,
    "input-required-result-basic-list-roots": 3, "input-required-result-request-state": 3,
    "input-required-result-multiple-input-requests": 3, "input-required-result-multi-round": 4,
    "input-required-result-missing-input-response": 2, "input-required-result-non-tool-request": 3,
    "input-required-result-result-type": 2, "input-required-result-unsupported-methods": 2,
    "input-required-result-tampered-state": 2, "input-required-result-capability-check": 2,
    "input-required-result-ignore-extra-params": 2, "input-required-result-validate-input": 3,
    "http-header-validation": 14, // not scored yet
  },
};

const suite = path.dirname(createRequire(import.meta.url).resolve("@modelcontextprotocol/conformance/package.json"));

// The scenarios below `server:` of a requirement set, whose file is as plain as this.
function scored(revision) {
  const lines = readFileSync(path.join(suite, "requirements", `${revision}.yaml`), "utf8").split("\n");
  const start = lines.indexOf("server:");
  const end = lines.findIndex((line, i) => i > start && /^[a-z_]+:/.test(line));
  return lines.slice(start + 1, end).filter((line) => line.startsWith("  - ")).map((line) => line.slice(4).trim());
}

let server, url, out;

async function alive() {
  assert.equal(server.exitCode, null, "the server has ended");
  const answer = await fetch(url, {
    method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json, text/event-stream" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "test_simple_text" } }),
  });
  assert.match((await answer.json()).result.content[0].text, /simple text response/);
}

before(async () => {
  out = mkdtempSync(path.join(os.tmpdir(), "csb-conformance-"));
  server = spawn(path.join(process.env.CSB_BINARY_DIR, "bin/csb-mcp-fixture"), ["--port", "0"],
                 { stdio: ["ignore", "pipe", "inherit"] });
  const ready = await new Promise((resolve, reject) => {
    server.stdout.once("data", (data) => resolve(String(data)));
    server.once("error", reject);
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  url = `http://127.0.0.1:${ready.match(/^ready (\d+)/)[1]}/mcp`;
});

after(async () => {
  rmSync(out, { recursive: true, force: true });
  if (server?.exitCode !== null) return;
  const ended = new Promise((resolve) => server.once("exit", resolve));
  server.kill("SIGTERM");
  assert.equal(await ended, 0);
});

describe("the conformance suite", () => {
  for (const [revision, expected] of Object.entries(kExpected)) {
    it(`finds nothing to complain about in what ${revision} requires`, async () => {
      await alive();
      const folder = path.join(out, revision);
      await new Promise((resolve) => {
        execFile(process.execPath, [path.join(suite, "dist/index.js"), "server", "--url", url, "--requirements", revision,
                                    "-o", folder], { timeout: 100_000, maxBuffer: 64 << 20 }, resolve);
      });
      await alive();
      const missing = scored(revision).filter((name) => !(name in expected));
      assert.deepEqual(missing, [], "scored, and not counted here");
      const folders = readdirSync(folder);
      for (const [name, passes] of Object.entries(expected)) {
        const found = folders.filter((f) => f.replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, "") === `server-${name}`);
        assert.equal(found.length, 1, `${name} ran ${found.length} times`);
        const checks = JSON.parse(readFileSync(path.join(folder, found[0], "checks.json"), "utf8"));
        const bad = checks.filter((check) => check.status === "FAILURE" || check.status === "WARNING");
        assert.deepEqual(bad, [], name);
        assert.equal(checks.filter((check) => check.status === "SUCCESS").length, passes, `checks of ${name}`);
      }
    });
  }
});

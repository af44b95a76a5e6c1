// Checks that a token is never sent to another host: node --test, in this folder.
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";

import { call, Tokens, usesAgent } from "./sftoken.js";

/** A server that records the paths of requests and sends a given response. */
class Host {
  asked = [];
  response = [200, {}, "{}"];

  async listen() {
    this.server = createServer((request, reply) => {
      this.asked.push(request.url);
      this.authorization = request.headers.authorization;
      const [status, headers, body] = this.response;
      reply.writeHead(status, { Connection: "close", ...headers }).end(body);
    });
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.name = `127.0.0.1:${this.server.address().port}`;
    this.url = `http://${this.name}`;
    return this;
  }
}

let org, other;
before(async () => {
  [org, other] = [await new Host().listen(), await new Host().listen()];
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: "AKIATEST", AWS_SECRET_ACCESS_KEY: "secret", AWS_SESSION_TOKEN: "session", AWS_REGION: "eu-west-1" });
});
after(() => [org, other].forEach((host) => host.server.close()));
beforeEach(() => ["SFTOKEN_AGENT_TOKEN", "SFTOKEN_AGENT_TOKEN_FILE"].forEach((variable) => delete process.env[variable]));
beforeEach(() => [org, other].forEach((host) => Object.assign(host, { asked: [], response: [200, {}, "{}"] })));

const token = () => ({ access_token: "00Dxx!token", token_id: "0123456789abcdef", instance_url: org.url, expires_in: 600 });
const given = { get: async () => token() };
const redirects = [301, 302, 303, 307, 308];

test("no path changes the host", async () => {
  const name = other.name;
  const wrong = ["", "x", `@${name}/x`, `:x@${name}/x`, `.${name}/x`, `https://${name}/x`, `http://${name}/x`, `\\\\${name}/x`, ` @${name}/x`, `?@${name}`, `\t@${name}/x`];
  for (const path of wrong) {
    await assert.rejects(call(given, path), /begin with/, path);
    assert.deepEqual([org.asked, other.asked], [[], []], path);
  }
  for (const path of ["/", "/x", `//${name}/x`, `///${name}/x`, `/@${name}/x`, `/\\${name}/x`, `/\\@${name}/x`, `/../@${name}`, `/?@${name}`, `/\t/${name}/x`]) {
    assert.equal((await call(given, path)).status, 200, path);
    assert.deepEqual([org.asked.length, other.asked], [1, []], path);
    org.asked = [];
  }
});

test("no redirect of the org is followed", async () => {
  for (const status of redirects) {
    for (const target of [other.url + "/x", "/x"]) {
      org.response = [status, { Location: target }, ""];
      await assert.rejects(call(given, "/services/data", { redirect: "follow" }), /redirect/);
      assert.deepEqual([org.asked, other.asked], [["/services/data"], []], `${status} to ${target}`);
      org.asked = [];
    }
  }
});

test("a token", async () => {
  org.response = [200, {}, JSON.stringify(token())];
  assert.equal((await new Tokens(org.url, "crm").get()).token_id, "0123456789abcdef");
  assert.match(org.authorization, /^AWS4-HMAC-SHA256 /);
});

test("an agent", async (t) => {
  org.response = [200, {}, JSON.stringify(token())];
  process.env.SFTOKEN_AGENT_TOKEN = "first\n"; // as of a file
  const tokens = new Tokens(org.url, "crm");
  assert.equal((await tokens.get()).token_id, "0123456789abcdef");
  assert.equal(org.authorization, "Bearer first");
  delete process.env.SFTOKEN_AGENT_TOKEN;
  process.env.SFTOKEN_AGENT_TOKEN_FILE = join(tmpdir(), `sftoken-test-${process.pid}`);
  t.after(() => rm(process.env.SFTOKEN_AGENT_TOKEN_FILE));
  await writeFile(process.env.SFTOKEN_AGENT_TOKEN_FILE, "second\n");
  await tokens.get("0123456789abcdef");
  assert.equal(org.authorization, "Bearer second");
  assert.deepEqual(org.asked, ["/tokens/crm", "/tokens/crm?rejected=0123456789abcdef"]);
});

test("the agent token reaches no other host", () => {
  process.env.SFTOKEN_AGENT_TOKEN = "secret";
  const loopback = ["http://127.0.0.1:7373/v1", "http://127.1.2.3/v1", "http://localhost:7373/v1", "http://[::1]:7373/v1"];
  const others = [
    "https://127.0.0.1/v1", "http://10.0.0.1/v1", "http://localhost.example/v1", "http://127.0.0.1.example/v1", "http://0.0.0.0/v1",
    "http://127.0.0.1@example.com/v1", "http://example.com\\@127.0.0.1/v1", "http://example.com/127.0.0.1", "https://example.com/v1",
  ];
  assert.deepEqual([...loopback, ...others].filter((url) => usesAgent(new URL(url))), loopback);
});

test("no redirect of the API is followed", async () => {
  for (const status of redirects) {
    org.response = [status, { Location: other.url + "/tokens/crm" }, ""];
    await assert.rejects(new Tokens(org.url, "crm").get(), new RegExp(`HTTP ${status}`));
    assert.deepEqual([org.asked, other.asked], [["/tokens/crm"], []], `${status}`);
    org.asked = [];
  }
});

// Checks that a token is never sent to another host: node --test, in this folder.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";

import { call, Tokens } from "./sftoken.js";

/** A server that records the paths of requests and sends a given response. */
class Host {
  asked = [];
  response = [200, {}, "{}"];

  async listen() {
    this.server = createServer((request, reply) => {
      this.asked.push(request.url);
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
});

test("no redirect of the API is followed", async () => {
  for (const status of redirects) {
    org.response = [status, { Location: other.url + "/tokens/crm" }, ""];
    await assert.rejects(new Tokens(org.url, "crm").get(), new RegExp(`HTTP ${status}`));
    assert.deepEqual([org.asked, other.asked], [["/tokens/crm"], []], `${status}`);
    org.asked = [];
  }
});

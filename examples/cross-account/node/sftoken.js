// Salesforce tokens from sftoken, and requests to Salesforce with them. To be copied into a program of your own.
import { setTimeout as sleep } from "node:timers/promises";

import { Sha256 } from "@aws-crypto/sha256-js";
import { fromNodeProviderChain } from "@aws-sdk/credential-providers";
import { SignatureV4 } from "@smithy/signature-v4";

const MARGIN = 30_000; // milliseconds before its end at which a token is replaced
const PATIENCE = 60_000; // milliseconds for which an API that asks to come back later is asked again
const TIMEOUT = 30_000; // milliseconds that one request may take

/** The tokens of one app. One request to the API is under way at a time, and its answer is for everybody who waits. */
export class Tokens {
  #url;
  #signer;
  #token;
  #until = 0;
  #last = Promise.resolve(); // the end of the queue

  constructor(url, app) {
    this.#url = new URL(`${url.replace(/\/+$/, "")}/tokens/${app}`);
    // Signed for the API's region, which need not be the caller's.
    const region = this.#url.hostname.match(/\.execute-api\.([a-z0-9-]+)\./)?.[1] ?? process.env.AWS_REGION;
    if (!region) throw new Error("no region");
    // Credentials as the AWS SDK finds them, refreshed where they have to be.
    this.#signer = new SignatureV4({ service: "execute-api", region, credentials: fromNodeProviderChain(), sha256: Sha256 });
  }

  /**
   * The API's answer, kept until shortly before its token expires. Rejected is the token_id of a token that Salesforce has
   * refused: the API gives another one if Salesforce says that it is dead, and the same again if not.
   */
  get(rejected) {
    const answer = this.#last.catch(() => {}).then(async () => {
      if (!this.#token || Date.now() >= this.#until || this.#token.token_id === rejected) {
        this.#token = await this.#ask(rejected);
        this.#until = Date.now() + this.#token.expires_in * 1000 - MARGIN;
      }
      return this.#token;
    });
    this.#last = answer;
    return answer;
  }

  async #ask(rejected) {
    const url = new URL(this.#url);
    if (rejected) url.searchParams.set("rejected", rejected);
    for (const until = Date.now() + PATIENCE; ; ) {
      const answer = await this.#send(url);
      if (answer.ok) return answer.json();
      const wait = Number(answer.headers.get("Retry-After") ?? 1) * 1000;
      if (answer.status !== 503 || Date.now() + wait > until) throw new Error(`HTTP ${answer.status}: ${await answer.text()}`);
      await sleep(wait);
    }
  }

  async #send(url) {
    const { protocol, hostname, pathname: path, host } = url;
    const query = Object.fromEntries(url.searchParams);
    const { headers } = await this.#signer.sign({ method: "GET", protocol, hostname, path, query, headers: { host } });
    // A redirect would take the signature to another host.
    return fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT), redirect: "manual" });
  }
}

/**
 * Sends a request to the org's REST API, as fetch does, for a path that begins with /; once more with another token, when the first
 * one is dead. A redirect is not followed: it would take the token elsewhere.
 */
export async function call(tokens, path, init = {}) {
  const token = await tokens.get();
  const answer = await send(token, path, init);
  if (answer.status !== 401 || !(await answer.clone().text()).includes("INVALID_SESSION_ID")) return answer;
  const another = await tokens.get(token.token_id);
  if (another.token_id === token.token_id) return answer; // it is alive: Salesforce means something else
  return send(another, path, init);
}

async function send(token, path, init) {
  // Anything else could change the host: @evil.example
  if (!path.startsWith("/")) throw new Error(`a path begins with /, and this is ${JSON.stringify(path)}`);
  const headers = { ...init.headers, Authorization: `Bearer ${token.access_token}` };
  const answer = await fetch(token.instance_url + path, { signal: AbortSignal.timeout(TIMEOUT), ...init, headers, redirect: "manual" });
  if (answer.headers.has("Location") && answer.status >= 300 && answer.status < 400) {
    throw new Error(`HTTP ${answer.status}: the org redirects, which is not followed`);
  }
  return answer;
}

// Fetches Salesforce tokens from sftoken and sends requests to Salesforce. Copy this file into your program.
//
// Requests to the API are signed, which needs the AWS SDK. Requests to an agent (`sftoken serve`) on this host are not.
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const MARGIN = 30_000; // milliseconds before its expiry at which a token is replaced
const RETRY_TIME = 60_000; // milliseconds for which a 503 of the API is retried
const TIMEOUT = 30_000; // milliseconds per request

/** The tokens of one app. Concurrent calls share one request to the API. */
export class Tokens {
  #url;
  #authorize; // returns the headers of a request
  #token;
  #until = 0;
  #last = Promise.resolve(); // the end of the queue

  constructor(url, app) {
    this.#url = new URL(`${url.replace(/\/+$/, "")}/tokens/${app}`);
    this.#authorize = usesAgent(this.#url) ? agentHeaders : signing(this.#url);
  }

  /**
   * Returns the API's response, cached until shortly before its token expires. rejected is the token_id of a token that
   * Salesforce rejected: the API returns another one unless Salesforce reports that one as active.
   */
  get(rejected) {
    const response = this.#last.catch(() => {}).then(async () => {
      if (!this.#token || Date.now() >= this.#until || this.#token.token_id === rejected) {
        this.#token = await this.#ask(rejected);
        this.#until = Date.now() + this.#token.expires_in * 1000 - MARGIN;
      }
      return this.#token;
    });
    this.#last = response;
    return response;
  }

  async #ask(rejected) {
    const url = new URL(this.#url);
    if (rejected) url.searchParams.set("rejected", rejected);
    for (const until = Date.now() + RETRY_TIME; ; ) {
      const response = await this.#send(url);
      if (response.ok) return response.json();
      const wait = Number(response.headers.get("Retry-After") ?? 1) * 1000;
      if (response.status !== 503 || Date.now() + wait > until) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
      await sleep(wait);
    }
  }

  async #send(url) {
    const headers = await this.#authorize(url);
    // A redirect would take the signature to another host.
    return fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT), redirect: "manual" });
  }
}

/** Returns a function that signs requests with credentials as the AWS SDK finds them, refreshed if necessary. */
function signing(api) {
  // The API's region, which may differ from the caller's.
  const region = api.hostname.match(/\.execute-api\.([a-z0-9-]+)\./)?.[1] ?? process.env.AWS_REGION;
  if (!region) throw new Error("no region");
  let signer;
  return async (url) => {
    signer ??= await newSigner(region);
    const { protocol, hostname, pathname: path, host } = url;
    const query = Object.fromEntries(url.searchParams);
    return (await signer.sign({ method: "GET", protocol, hostname, path, query, headers: { host } })).headers;
  };
}

async function newSigner(region) {
  const { Sha256 } = await import("@aws-crypto/sha256-js");
  const { fromNodeProviderChain } = await import("@aws-sdk/credential-providers");
  const { SignatureV4 } = await import("@smithy/signature-v4");
  return new SignatureV4({ service: "execute-api", region, credentials: fromNodeProviderChain(), sha256: Sha256 });
}

/** Reports whether the URL is an agent's: http at a loopback address, while the environment has an agent token. */
export function usesAgent(url) {
  const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  return url.protocol === "http:" && loopback && Boolean(process.env.SFTOKEN_AGENT_TOKEN || process.env.SFTOKEN_AGENT_TOKEN_FILE);
}

/** Reads the agent token for each request, because an agent makes another one when it starts. */
async function agentHeaders() {
  const token = process.env.SFTOKEN_AGENT_TOKEN || (await readFile(process.env.SFTOKEN_AGENT_TOKEN_FILE, "utf8")).trim();
  return { Authorization: `Bearer ${token}` };
}

/**
 * Sends a request to the org's REST API, as fetch does. The path must begin with /. If the session has ended, repeats the request
 * with another token. Follows no redirect, which would take the token to another host.
 */
export async function call(tokens, path, init = {}) {
  const token = await tokens.get();
  const response = await send(token, path, init);
  if (response.status !== 401 || !(await response.clone().text()).includes("INVALID_SESSION_ID")) return response;
  const another = await tokens.get(token.token_id);
  if (another.token_id === token.token_id) return response; // it is active: the 401 has another cause
  return send(another, path, init);
}

async function send(token, path, init) {
  // Anything else could change the host: @evil.example
  if (!path.startsWith("/")) throw new Error(`path must begin with /: ${JSON.stringify(path)}`);
  const headers = { ...init.headers, Authorization: `Bearer ${token.access_token}` };
  const response = await fetch(token.instance_url + path, { signal: AbortSignal.timeout(TIMEOUT), ...init, headers, redirect: "manual" });
  if (response.headers.has("Location") && response.status >= 300 && response.status < 400) {
    throw new Error(`HTTP ${response.status}: the org redirects, which is not followed`);
  }
  return response;
}

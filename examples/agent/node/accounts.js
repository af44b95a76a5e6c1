// Prints the names of the org's accounts, with jsforce and a token of the agent.
import { readFile } from "node:fs/promises";

import { Connection } from "jsforce";

async function getToken(rejected) {
  const secret = (await readFile(process.env.SFTOKEN_AGENT_TOKEN_FILE, "utf8")).trim();
  const url = `${process.env.SFTOKEN_URL}/tokens/crm${rejected ? `?rejected=${rejected}` : ""}`;
  const response = await fetch(url, { headers: { Authorization: `Bearer ${secret}` } });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return response.json();
}
let token = await getToken();
const refreshFn = (_, done) => getToken(token.token_id).then((next) => done(null, (token = next).access_token), done);
const connection = new Connection({ instanceUrl: token.instance_url, accessToken: token.access_token, refreshFn });

const { records } = await connection.query("SELECT Name FROM Account ORDER BY Name");
for (const { Name } of records) console.log(Name);

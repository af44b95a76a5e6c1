// jsforce with tokens of the agent: `sftoken serve` in front of `sftoken local`.
'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { test } = require('node:test');
const { Connection } = require('jsforce');

const secret = readFileSync(process.env.SFTOKEN_AGENT_TOKEN_FILE, 'utf8').trim();

async function getToken(rejected, headers = { Authorization: 'Bearer ' + secret }) {
  const response = await fetch(process.env.SFTOKEN_URL + '/tokens/crm' + (rejected ? '?rejected=' + rejected : ''), { headers });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return response.json();
}

test('ended sessions, with many queries at the same time', async () => {
  let token = await getToken();
  let refreshed = 0;
  const connection = new Connection({
    instanceUrl: token.instance_url, accessToken: token.access_token, version: '65.0',
    refreshFn: (_, done) => { refreshed++; getToken(token.token_id).then((next) => done(null, (token = next).access_token), done); },
  });
  await connection.query('SELECT Id FROM Account LIMIT 1'); // the tests of another client may have ended the session
  const before = refreshed;
  for (let ended = 1; ended <= 2; ended++) {
    const body = new URLSearchParams({ token: connection.accessToken });
    assert.equal((await fetch(connection.instanceUrl + '/services/oauth2/revoke', { method: 'POST', body })).status, 200);
    const all = await Promise.all(Array.from({ length: 20 }, () => connection.query('SELECT Id FROM Account LIMIT 1')));
    assert.ok(all.every((one) => one.records.length === 1));
    assert.equal(refreshed - before, ended);
  }
});

test('without the agent token', async () => {
  await assert.rejects(getToken(undefined, {}), /HTTP 401.*invalid_client/);
});

// jsforce with a token of the API, and with a refreshFn that fetches another one when Salesforce ends the session.
'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { test } = require('node:test');
const aws4 = require('aws4');
const { Connection } = require('jsforce');

const local = JSON.parse(readFileSync(process.env.SFTOKEN_LOCAL, 'utf8'));

// getToken returns a token, another than the rejected one if that has ended. The API checks it once in five seconds.
async function getToken(rejected) {
  for (let tries = 0; tries < 12; tries++) {
    const url = new URL(local.url + '/tokens/crm' + (rejected ? '?rejected=' + rejected : ''));
    const { headers } = aws4.sign({ host: url.host, path: url.pathname + url.search, service: 'execute-api', region: local.region }, local.keys.billing);
    delete headers.Host; // fetch sets it
    const response = await fetch(url, { headers });
    assert.equal(response.status, 200, 'HTTP ' + response.status);
    const token = await response.json();
    if (token.token_id !== rejected || response.headers.get('x-token-cache') !== 'hit') return token;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error('the API has not checked the rejected token');
}

// connect returns a connection and a count of its refreshes.
async function connect() {
  let token = await getToken();
  const refreshed = { times: 0, token };
  const connection = new Connection({
    instanceUrl: token.instance_url, accessToken: token.access_token, version: '65.0',
    refreshFn: (_, done) => {
      refreshed.times++;
      getToken(refreshed.token.token_id).then((next) => { refreshed.token = next; done(null, next.access_token); }, done);
    },
  });
  return { connection, refreshed };
}

test('records', async () => {
  const { connection, refreshed } = await connect();
  const identity = await connection.identity();
  assert.match(identity.username, /@/);
  assert.ok((await connection.limits()).DailyApiRequests.Remaining > 0);
  assert.ok(connection.limitInfo.apiUsage.limit > 0);
  assert.ok((await connection.describeGlobal()).sobjects.some((one) => one.name === 'Account'));
  assert.ok((await connection.sobject('Account').describe()).fields.some((one) => one.name === 'Industry'));

  const accounts = connection.sobject('Account');
  const { id, success } = await accounts.create({ Name: "O'Hara & Söhne", NumberOfEmployees: 12 });
  assert.equal(success, true);
  assert.equal((await accounts.update({ Id: id, Industry: 'Media' })).success, true);
  const account = await accounts.retrieve(id);
  assert.deepEqual([account.Name, account.Industry, account.NumberOfEmployees], ["O'Hara & Söhne", 'Media', 12]);
  const found = await accounts.find({ Name: "O'Hara & Söhne", NumberOfEmployees: 12 }, ['Id']);
  assert.deepEqual(found.map((one) => one.Id), [id]);
  assert.equal((await accounts.destroy(id)).success, true);
  await assert.rejects(accounts.retrieve(id), { errorCode: 'ENTITY_IS_DELETED' });
  await assert.rejects(connection.query('SELECT Nothing FROM Account'), { errorCode: 'INVALID_FIELD' });
  assert.equal(refreshed.times, 0);
});

test('many records', async () => {
  const { connection } = await connect();
  const names = Array.from({ length: 450 }, (_, i) => 'Many ' + i);
  const saved = await connection.sobject('Account').create(names.map((Name) => ({ Name })), { allowRecursive: true });
  assert.ok(saved.every((one) => one.success));
  const query = connection.query("SELECT Name FROM Account WHERE Name LIKE 'Many %'", { headers: { 'Sforce-Query-Options': 'batchSize=200' } });
  const { records } = await query.execute({ autoFetch: true, maxFetch: 1000 });
  assert.deepEqual(records.map((one) => one.Name).sort(), names.sort());
  const gone = await connection.sobject('Account').destroy(saved.map((one) => one.id), { allowRecursive: true });
  assert.ok(gone.every((one) => one.success));
});

test('an ended session', async () => {
  const { connection, refreshed } = await connect();
  const body = new URLSearchParams({ token: connection.accessToken });
  assert.equal((await fetch(connection.instanceUrl + '/services/oauth2/revoke', { method: 'POST', body })).status, 200);
  const all = await Promise.all(Array.from({ length: 20 }, () => connection.query('SELECT Id FROM Account LIMIT 1')));
  assert.ok(all.every((one) => one.records.length === 1));
  assert.equal(refreshed.times, 1);
});

// Logging in and out, what a session may do, and what no page may.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Engine } from './engine.mjs';
import { browser, Server, Visitor } from './harness.mjs';

const web = 'web';
let engine, server, chrome;

before(async () => {
  [engine, chrome] = await Promise.all([Engine.start(), browser()]);
  await engine.run(web);
  server = await Server.up(engine.address);
  await server.sees(web);
});

after(async () => {
  await chrome?.close();
  await server?.end();
  await engine?.end();
});

/** `method` on a path of the API from within the page, as its scripts would; gives the status. */
function call(visitor, method, path, headers = {}, body) {
  return visitor.page.evaluate(
    async ([method, path, headers, body]) => (await fetch(path, { method, headers, body })).status,
    [method, path, headers, body],
  );
}

test('a visitor logs in, stays logged in, and logs out', async () => {
  const visitor = await Visitor.comes(chrome, server);
  await visitor.login();
  await visitor.page.getByText('first token').waitFor();
  const [cookie] = await visitor.context.cookies();
  const { name, path, httpOnly, sameSite, secure, expires } = cookie;
  assert.deepEqual({ name, path, httpOnly, sameSite, secure }, { name: 'dockhealth_session', path: '/', httpOnly: true, sameSite: 'Strict', secure: false });
  const days = (expires - Date.now() / 1000) / 86_400;
  assert.ok(days > 6.9 && days <= 7, `${days} days`);
  assert.equal(await visitor.page.evaluate(() => document.cookie), '', 'scripts see no cookie');
  const kept = await visitor.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.ok(!kept.includes('dh_') && !kept.includes('dhs_'), kept);

  await visitor.page.reload();
  await visitor.page.getByText('first token').waitFor();
  await visitor.page.getByRole('button', { name: 'Log out' }).click();
  await visitor.page.getByRole('link', { name: 'Log in' }).waitFor();
  assert.deepEqual(await visitor.context.cookies(), []);
  await visitor.leaves();
});

test('a wrong token is refused with what is right, and no token gets in', async () => {
  const visitor = await Visitor.comes(chrome, server);
  visitor.forgive(/status of 401/);
  await visitor.page.goto('/login');
  await visitor.page.getByLabel('Access token').fill('dh_wrong');
  await visitor.page.getByRole('button', { name: 'Log in' }).click();
  await visitor.page.getByRole('alert').filter({ hasText: 'not an access token' }).waitFor();
  assert.deepEqual(await visitor.context.cookies(), []);
  assert.equal(new URL(visitor.page.url()).pathname, '/login');
  await visitor.leaves();
});

test('without a token nothing is written, nor without the word of the session', async () => {
  const visitor = await Visitor.comes(chrome, server);
  visitor.forgive(/status of 40[13]/);
  const path = `/api/v1/containers/vm/${web}`;
  await visitor.page.goto('/');
  assert.equal(await call(visitor, 'POST', path), 401);
  await visitor.login();
  assert.equal(await call(visitor, 'POST', path), 403, 'no word');
  assert.equal(await call(visitor, 'POST', path, { 'x-csrf-token': 'x'.repeat(64) }), 403, 'a wrong word');
  assert.equal((await server.sees(web)).monitored, false);
  const { csrf } = await visitor.page.evaluate(async () => (await fetch('/api/v1/session')).json());
  assert.equal(await call(visitor, 'POST', path, { 'x-csrf-token': csrf }), 200);
  await server.sees(web, (one) => one.monitored);
  assert.equal(await call(visitor, 'DELETE', path, { 'x-csrf-token': csrf }), 204);
  await visitor.leaves();
});

test('a page of another site can neither read nor write here', async (t) => {
  const visitor = await Visitor.comes(chrome, server);
  await visitor.login();
  // Another port is another site to the door, though the browser sends it the cookie.
  const other = await Server.up();
  t.after(() => other.end());
  const page = await visitor.context.newPage();
  await visitor.context.unrouteAll();
  await page.goto(`${other.base}/healthz`);
  const reach = (method) =>
    page.evaluate(
      async ([url, method]) => fetch(url, { method, credentials: 'include', body: '20' }).then((answer) => answer.status, () => 'refused'),
      [`${server.base}/api/v1/threshold`, method],
    );
  assert.equal(await reach('PUT'), 'refused');
  assert.equal(await reach('POST'), 'refused');
  assert.equal(await server.rest('GET', '/threshold'), 50);
  await visitor.leaves();
});

test('a token that may only read shows everything and offers no change', async () => {
  const visitor = await Visitor.comes(chrome, server);
  await visitor.login(await server.mint('looker', 'read'));
  await visitor.page.getByText('looker, read-only').waitFor();
  await visitor.page.goto(`/containers/vm/${web}`);
  await visitor.page.getByRole('heading', { level: 1, name: web }).waitFor();
  for (const change of [/^monitor/i, /restart/i, /release/i]) {
    const button = visitor.page.getByRole('button', { name: change });
    assert.ok((await button.count()) === 0 || (await button.first().isDisabled()), `${change}`);
  }
  await visitor.leaves();
});

test('who is elsewhere has to log in to see anything, and comes where they wanted to be', async () => {
  const visitor = await Visitor.comes(chrome, server, { extraHTTPHeaders: { 'x-forwarded-for': '203.0.113.7' } });
  visitor.forgive(/status of 401/);
  await visitor.page.goto('/events?kind=monitored');
  await visitor.page.getByLabel('Access token').fill(server.token);
  await visitor.page.keyboard.press('Enter');
  await visitor.page.waitForURL('**/events?kind=monitored');
  await visitor.leaves();
});

test('a revoked token ends its sessions while they look', async () => {
  const visitor = await Visitor.comes(chrome, server, { extraHTTPHeaders: { 'x-forwarded-for': '203.0.113.7' } });
  visitor.forgive(/status of 401/);
  await visitor.login(await server.mint('soon gone', 'write'));
  await visitor.page.getByText('soon gone').waitFor();
  const { id } = (await server.rest('GET', '/tokens')).find(({ name }) => name === 'soon gone');
  await server.rest('DELETE', `/tokens/${id}`);
  await visitor.page.getByLabel('Access token').waitFor();
  await visitor.leaves();
});

// A container is watched, monitored, killed and seen coming back, without a reload; by mouse and by keyboard alone.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Engine } from './engine.mjs';
import { browser, HOST, Server, until, Visitor } from './harness.mjs';

let engine, server, chrome;

before(async () => {
  [engine, chrome] = await Promise.all([Engine.start(), browser()]);
  await Promise.all(['web', 'db', 'cache'].map((name) => engine.run(name)));
  server = await Server.up(engine.address);
  await server.sees('cache');
});

after(async () => {
  await chrome?.close();
  await server?.end();
  await engine?.end();
});

/** Marks the window, so that a reload shows. */
const mark = (visitor) => visitor.page.evaluate(() => (globalThis.sameWindow = true));

const isMarked = (visitor) => visitor.page.evaluate(() => globalThis.sameWindow === true);

/** The heading of a container's page, which has its health. */
const heading = (visitor, health) => visitor.page.getByRole('heading', { level: 1 }).filter({ hasText: health });

test('a container is monitored, gets a threshold, is killed and comes back before the eyes', async () => {
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  await visitor.login();
  await mark(visitor);
  await page.getByRole('radio', { name: 'Containers' }).or(page.getByRole('button', { name: 'Containers', exact: true })).first().click();
  await page.getByRole('link', { name: 'web', exact: true }).click();
  await heading(visitor, 'unmonitored').waitFor();
  await page.getByRole('button', { name: 'Monitor', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Monitor' }).click();
  await heading(visitor, 'healthy').waitFor();

  await page.getByRole('button', { name: 'Threshold' }).click();
  await page.getByRole('dialog').getByLabel('Loss, percent').fill('20');
  await page.getByRole('dialog').getByRole('button', { name: 'Set', exact: true }).click();
  await page.getByText('A check fails above a loss of 20').waitFor();
  assert.equal((await server.rest('GET', `/containers/${HOST}/web`)).threshold, 20);

  const began = await engine.docker('inspect', '--format', '{{.State.StartedAt}}', 'web');
  await engine.docker('kill', 'web');
  const killed = performance.now();
  const down = page.getByText(/web is down/).first();
  await down.waitFor({ timeout: 2_000 });
  const shown = Math.round(performance.now() - killed);
  await page.getByText(/web was started in/).first().waitFor();
  await heading(visitor, 'healthy').waitFor();
  const now = await engine.docker('inspect', '--format', '{{.State.Running}} {{.State.StartedAt}}', 'web');
  assert.ok(now.startsWith('true ') && !now.endsWith(began), now);
  assert.ok(await isMarked(visitor), 'the page was loaded once');
  console.log(`a kill was shown ${shown} ms after it was done`);
  await visitor.leaves();
});

test('what others change is shown as it is changed', async () => {
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  visitor.forgive(/status of 404/);
  await page.goto(`/containers/${HOST}/db`);
  await heading(visitor, 'unmonitored').waitFor();
  await mark(visitor);
  await server.rest('POST', `/containers/${HOST}/db`);
  await heading(visitor, 'healthy').waitFor();
  await server.rest('PUT', `/containers/${HOST}/db/threshold`, 7);
  await page.getByText('A check fails above a loss of 7').waitFor();
  await server.rest('POST', '/freeze');
  await page.getByText('Healing is frozen on every host').waitFor();
  await server.rest('DELETE', '/freeze');
  await page.getByText('Healing is frozen on every host').waitFor({ state: 'detached' });
  await engine.docker('rm', '--force', 'db');
  await page.getByText('There is no such container').waitFor();
  await engine.run('db');
  await heading(visitor, /unmonitored|healthy/).waitFor();
  assert.ok(await isMarked(visitor));
  await visitor.leaves();
});

test('a lost connection shows itself, comes back alone and fills the gap', async () => {
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  visitor.forgive(/ERR_(CONNECTION|INCOMPLETE|EMPTY)/, /Failed to load resource/);
  await server.rest('POST', `/containers/${HOST}/web`);
  await server.sees('web', (one) => one.health === 'healthy');
  await page.goto(`/containers/${HOST}/web`);
  await page.locator('[data-connection="live"]').waitFor();
  await mark(visitor);
  const before = (await server.sees('web')).restarts;
  await server.stop('SIGKILL');
  await page.getByText('The connection to the controller is lost').waitFor();
  await engine.docker('kill', 'web');
  await server.again();
  await page.locator('[data-connection="live"]').waitFor();
  await page.getByText('The connection to the controller is lost').waitFor({ state: 'detached' });
  await server.sees('web', (one) => one.health === 'healthy' && one.restarts > before);
  const restarts = page.locator('dt', { hasText: /^Restarts$/ }).locator('xpath=following-sibling::dd[1]');
  await until('the new start of web is on the page', async () => Number(await restarts.textContent()) > before);
  await page.getByText(/web was started in/).first().waitFor();
  await heading(visitor, 'healthy').waitFor();
  assert.ok(await isMarked(visitor));
  await visitor.leaves();
});

test('by keyboard alone', async () => {
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  /** Presses a key until what has the focus fits. */
  const reach = async (what, key = 'Tab') => {
    for (let times = 0; times < 60; times += 1) {
      await press(key);
      if (await what.evaluateAll((all) => all.includes(document.activeElement))) return;
    }
    assert.fail(`${what} is not reached by ${key}`);
  };
  await page.goto('/login');
  await reach(page.getByLabel('Access token'));
  await page.keyboard.type(server.token);
  await press('Enter');
  await page.waitForURL(`${server.base}/`);
  await page.getByRole('heading', { level: 1, name: 'Fleet' }).waitFor();
  await page.goto('/?view=containers');
  const rows = page.getByRole('row');
  await page.getByRole('gridcell', { name: 'web', exact: true }).or(page.getByRole('link', { name: 'web', exact: true })).first().waitFor();
  await reach(page.getByRole('link', { name: 'Skip to content' }));
  await press('Enter');
  await reach(rows);
  await reach(rows.filter({ hasText: 'cache' }), 'ArrowDown').catch(() => reach(rows.filter({ hasText: 'cache' }), 'ArrowUp'));
  await press('Enter');
  await page.waitForURL(`**/containers/${HOST}/cache`);
  await reach(page.getByRole('button', { name: 'Monitor', exact: true }));
  await press('Enter');
  await page.getByRole('dialog').waitFor();
  await press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  assert.ok(await page.getByRole('button', { name: 'Monitor', exact: true }).evaluate((button) => button === document.activeElement), 'the focus is where it was');
  await press('Enter');
  await page.getByRole('dialog').waitFor();
  await reach(page.getByRole('dialog').getByRole('button', { name: 'Monitor' }));
  await press('Enter');
  await heading(visitor, 'healthy').waitFor();
  await page.goBack();
  await page.waitForURL('**/?view=containers');
  await visitor.leaves();
});

test('hostile labels, names and words are shown as text', async () => {
  const evil = '<img src=x onerror=alert(1)>"\'</script><script>alert(2)</script>';
  await engine.run('evil', ['--label', `com.docker.compose.project=${evil}`, '--label', `com.docker.compose.service=${evil}`]);
  const short = '<img src=x onerror=alert(3)>';
  const token = await server.mint(short, 'write');
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  await visitor.login(token);
  await page.getByText(short).first().waitFor();
  await page.goto(`/containers/${HOST}/evil`);
  await page.getByText('<img src=x onerror=alert(1)>').first().waitFor();
  await page.goto(`/containers/${HOST}/${encodeURIComponent(short)}`);
  await page.getByText(short).first().waitFor();
  await page.goto(`/?q=${encodeURIComponent(short)}`);
  await page.getByText(short).first().waitFor();
  for (const path of ['/events', '/settings', '/']) {
    await page.goto(path);
    await page.locator('[data-connection="live"]').waitFor();
  }
  assert.equal(await page.locator('img[src="x"]').count(), 0);
  visitor.forgive(/status of 40[04]/);
  await visitor.leaves();
});

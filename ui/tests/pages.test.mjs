// Every page: what it says, that everybody can use it, how it looks on a desk and in a hand, and what it costs to load.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { Engine } from './engine.mjs';
import { browser, HOST, Server, SIZES, until, Visitor } from './harness.mjs';

let engine, server, chrome;
const POOL = `/pools/${HOST}/tasks`;

/** A port that nobody listens on. */
async function freePort() {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address();
  taken.close();
  await once(taken, 'close');
  return port;
}

before(async () => {
  [engine, chrome] = await Promise.all([Engine.start(), browser()]);
  const shop = (service) => ['--label', 'com.docker.compose.project=shop', '--label', `com.docker.compose.service=${service}`];
  const watched = ['--label', 'dockhealth.monitor=true'];
  await engine.run('shop-web-1', [...shop('web'), ...watched]);
  await engine.run('shop-db-1', [...shop('db'), ...watched]);
  await engine.run('shop-queue-1', shop('queue'));
  await engine.run('registry');
  server = await Server.up(engine.address, ['--interval', '2s', '--metrics-interval', '1s', '--pools']);
  await server.sees('shop-db-1', (one) => one.health === 'healthy');
  // Something to tell of.
  await engine.crash('shop-web-1');
  await server.sees('shop-web-1', (one) => one.restarts === 1 && one.health === 'healthy');
  await server.rest('POST', `/containers/${HOST}/shop-queue-1`);
  await server.rest('PUT', POOL, { image: 'dockhealth:test', command: ['dummy', '--serve', '0.0.0.0:80'], controller: 'fixed:2', listen: `127.0.0.1:${await freePort()}` });
  await until('the pool serves', async () => (await server.rest('GET', POOL)).pool.status?.counts.ready === 2);
});

after(async () => {
  await chrome?.close();
  await server?.end();
  await engine?.end();
});

/** Every page: its address, the heading it has, and its pictures' name. */
const PAGES = [
  ['/', 'Fleet', 'fleet'],
  ['/?view=hosts', 'Fleet', 'fleet-hosts'],
  ['/?view=containers', 'Fleet', 'fleet-containers'],
  [`/hosts/${HOST}`, HOST, 'host'],
  [`/containers/${HOST}/shop-web-1`, 'shop-web-1', 'container'],
  ['/incidents', 'Incidents', 'incidents'],
  ['/events', 'Events', 'events'],
  ['/drills', 'Drills', 'drills'],
  ['/pools', 'Pools', 'pools'],
  [POOL, 'tasks', 'pool'],
  ['/settings', 'Settings', 'settings'],
  ['/nowhere', 'Not found', 'missing'],
];

for (const [path, title, name] of PAGES) {
  test(`${name}: accessible in light and dark, and pictured`, async () => {
    const visitor = await Visitor.comes(chrome, server);
    const { page } = visitor;
    if (name === 'missing') visitor.forgive(/status of 404/);
    await visitor.login();
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).filter({ hasText: new RegExp(title, 'i') }).waitFor();
    assert.match(await page.title(), /dockhealth/);
    if (name !== 'missing') await page.locator('[data-connection="live"]').waitFor();
    await until('nothing is being loaded', () => page.evaluate(() => !document.querySelector('[aria-busy="true"]')));
    await visitor.accessible();
    await page.setViewportSize(SIZES.phone);
    await visitor.accessible();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `on a phone it is ${wide} pixels too wide`);
    await visitor.shoot(name);
    await visitor.leaves();
  });
}

test('login: accessible in light and dark, and pictured', async () => {
  const visitor = await Visitor.comes(chrome, server);
  await visitor.page.goto('/login');
  await visitor.page.getByLabel('Access token').waitFor();
  await visitor.accessible();
  await visitor.shoot('login');
  await visitor.leaves();
});

test('a host that is not there yet is taught about', async (t) => {
  const alone = await Server.up();
  t.after(() => alone.end());
  const visitor = await Visitor.comes(chrome, alone);
  await visitor.page.goto('/');
  await visitor.page.getByText('No host has spoken yet').waitFor();
  await visitor.accessible();
  await visitor.shoot('no-hosts');
  await visitor.leaves();
});

test('an engine that is away is said, and that containers are not blamed', async () => {
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  await page.goto(`/hosts/${HOST}`);
  await page.locator('[data-connection="live"]').waitFor();
  await engine.stop();
  // Events tell of it too, and go on telling.
  const notice = page.getByRole('region', { name: 'Its engine does not answer' });
  await notice.waitFor();
  await visitor.shoot('engine-unreachable');
  await engine.begin();
  await notice.waitFor({ state: 'detached' });
  await visitor.leaves();
});

test('a theme chosen against the system is there at the first paint', async () => {
  const visitor = await Visitor.comes(chrome, server, { colorScheme: 'light' });
  const { page } = visitor;
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.goto('/');
  const light = await ground();
  await page.getByRole('button', { name: 'Switch to dark' }).click();
  const dark = await ground();
  assert.notEqual(light, dark);
  // What the pages' own scripts do comes later.
  let go;
  const released = new Promise((resolve) => (go = resolve));
  await page.route('**/assets/*.js', async (route) => {
    await released;
    await route.continue();
  });
  await page.reload({ waitUntil: 'commit' });
  await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length > 0);
  assert.equal(await ground(), dark);
  go();
  await page.getByRole('button', { name: 'Switch to light' }).waitFor();
  await visitor.leaves();
});

test('of a single host each event is a line of its own, unless they are to be grouped', async () => {
  // Enough for a line even where the clock cuts them in two.
  for (let round = 0; round < 5; round += 1) {
    await server.rest('POST', `/containers/${HOST}/registry`);
    await server.rest('DELETE', `/containers/${HOST}/registry`);
  }
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  await page.goto('/events');
  const sums = page.getByRole('button', { name: /events in/ });
  const choice = page.getByLabel('Group by host');
  await page.locator('li[id^=event-]').first().waitFor();
  await until('the fleet was read', async () => !(await choice.isChecked()));
  assert.equal(await sums.count(), 0);
  await choice.check();
  await sums.first().waitFor();
  assert.match(page.url(), /grouped=1/);
  await choice.uncheck();
  await sums.first().waitFor({ state: 'detached' });
  assert.doesNotMatch(page.url(), /grouped/);
  await visitor.leaves();
});

test('the first paint comes after at most three requests, all of them ours and packed', async () => {
  const visitor = await Visitor.comes(chrome, server);
  const asked = [];
  let painted;
  const afterPaint = new Promise((resolve) => (painted = resolve));
  await visitor.page.route('**/*', async (route) => {
    const path = new URL(route.request().url()).pathname;
    if (path !== '/favicon.svg' && asked.push(path) > 3) await afterPaint;
    await route.continue();
  });
  await visitor.page.goto('/', { waitUntil: 'commit' });
  const paint = await visitor.page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime);
  painted();
  await visitor.page.locator('[data-connection="live"]').waitFor();
  const sizes = await visitor.page.evaluate(() =>
    performance.getEntriesByType('resource').filter(({ name }) => name.includes('/assets/')).map(({ encodedBodySize, decodedBodySize }) => [encodedBodySize, decodedBodySize]),
  );
  for (const [packed, whole] of sizes) assert.ok(packed < whole, `${packed} of ${whole} bytes`);
  console.log(`first paint after ${asked.slice(0, 3).join(' ')} and ${Math.round(await paint.jsonValue())} ms; ${sizes.reduce((sum, [packed]) => sum + packed, 0)} bytes`);
  await visitor.leaves();
});

test('pools are shown live, and where there are none the page teaches how one is begun', async () => {
  const visitor = await Visitor.comes(chrome, server);
  const { page } = visitor;
  await visitor.login();
  await page.goto(POOL);
  await page.locator('[data-connection="live"]').waitFor();
  // An engine that was away left their numbers to others.
  const containers = page.getByRole('link', { name: 'dockhealth-pool-tasks-' });
  await containers.nth(1).waitFor();
  await page.getByRole('region', { name: 'Decisions' }).getByText('2 stay').first().waitFor();
  const { pool } = await server.rest('GET', POOL);
  await server.rest('PUT', POOL, { ...pool.spec, controller: 'fixed:3' });
  await containers.nth(2).waitFor();
  await page.getByRole('link', { name: 'Pools' }).first().click();
  await page.getByRole('link', { name: 'tasks' }).first().waitFor();
  await server.rest('DELETE', POOL);
  await page.getByRole('heading', { name: 'There are no pools' }).waitFor();
  await page.getByText('dockhealth pools set').waitFor();
  await visitor.accessible();
  await visitor.leaves();
});

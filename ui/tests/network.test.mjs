// The Network page: a controller on a real nats-server, and what two agents would say of their containers' network.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { browser, Server, SIZES, until, Visitor } from './harness.mjs';

const dir = mkdtempSync(join(tmpdir(), 'dhtest-net-'));
const NONCES = { a: '7b0c1f2e-3d4a-4b5c-8d6e-9f0a1b2c3d4e', b: 'c0ffee00-3d4a-4b5c-8d6e-9f0a1b2c3d4e' };
let broker, bus, server, chrome, talk;
let seq = 0;

/** Says something on a subject, as any client may. */
function publish(subject, value) {
  const payload = Buffer.from(JSON.stringify(value));
  bus.write(`PUB ${subject} ${payload.length}\r\n`);
  bus.write(payload);
  bus.write('\r\n');
}

function hostReport(host, containers) {
  const container = ([name, address, project]) => ({
    name, id: '0123456789abcdef', image: 'nginx:1', status: 'running', monitored: true, health: 'healthy', loss_percent: 0, rtt_ms: 0.1,
    restarts: 0, networks: ['shop'], addresses: [address], project, service: null, reason: 'answers every probe',
  });
  publish(`dockhealth.v1.report.${host}`, {
    v: 1, host, instance: `i-${host}`, nonce: NONCES[host], seq: (seq += 1), time: new Date().toISOString(), agent_version: '0.1.0', addresses: [],
    engine: { status: 'reachable', id: `engine-${host}`, version: '20.10.24', error: null }, capabilities: [], freeze: null, dry_run: false,
    threshold: 50, desired_synced: true, outbox: 0, containers: containers.map(container),
  });
}

function flow(container, kind, peer, address, sent, received) {
  const traffic = (packets) => ({ bytes: packets * 1000, packets, segments: packets });
  return { container, peer: { kind, container: peer, address }, protocol: 'tcp', sent: traffic(sent), received: traffic(received), tcp: { retransmits: 3, connections: null, rtt: { samples: 4, sum_us: 4000 } } };
}

function networkReport(host, endpoints, more) {
  const end = Math.floor(Date.now() / 10_000) * 10_000;
  const stamp = (time) => new Date(time).toISOString();
  publish(`dockhealth.v1.net.${host}`, {
    v: 1, host, nonce: NONCES[host], seq: (seq += 1),
    interval: {
      start: stamp(end - 10_000), end: stamp(end), way: 'tracepoints', clock: null,
      measurements: [{ name: 'flows', status: 'works', detail: '' }, { name: 'drops', status: 'missing', detail: 'Linux 5.17 or later' }],
      endpoints: endpoints.map(([container, address]) => ({ container, kind: 'own', addresses: [address], traced: true })),
      flows: [], latency: [], drops: [], overflow: { packets_beyond: 0, lost: 0, rows_folded: 0, packets_unknown: 0 }, ...more,
    },
  });
}

const A = [['web', '10.9.0.2', 'shop'], ['cache', '10.9.0.4', 'shop'], ['cron', '10.9.0.5', null]];
const B = [['db', '10.9.0.3', 'shop']];

function networks() {
  const histogram = { count: 9, sum_ns: 45_000, max_ns: 9_000, buckets: [[8, 6], [9, 3]] };
  networkReport('a', A, {
    flows: [flow('web', 'address', undefined, '10.9.0.3', 100, 40), flow('web', 'container', 'cache', '10.9.0.4', 50, 50), flow('cache', 'container', 'web', '10.9.0.2', 50, 50), flow('cron', 'address', undefined, '203.0.113.9', 1, 1)],
    latency: [{ from: 'web', to: 'cache', hop: 'end_to_end', histogram }],
  });
  networkReport('b', B, { flows: [flow('db', 'address', undefined, '10.9.0.2', 40, 80)] });
}

before(async () => {
  const free = createServer();
  await new Promise((listening) => free.listen(0, '127.0.0.1', listening));
  const { port } = free.address();
  await new Promise((closed) => free.close(closed));
  broker = spawn('nats-server', ['--addr', '127.0.0.1', '--port', String(port), '--jetstream', '--store_dir', join(dir, 'js')], { stdio: 'ignore' });
  [server, chrome] = await Promise.all([Server.start('controller', ['--nats', `nats://127.0.0.1:${port}`]), browser()]);
  bus = await until('the broker takes a client', () => new Promise((done) => {
    const socket = connect(port, '127.0.0.1', () => done(socket)).on('error', () => done(null));
  }));
  bus.write('CONNECT {"verbose":false}\r\n');
  bus.on('data', (text) => String(text).includes('PING') && bus.write('PONG\r\n'));
  const hosts = () => (hostReport('a', A), hostReport('b', B));
  talk = setInterval(hosts, 2000);
  await until('both hosts are known', async () => {
    hosts();
    return (await server.rest('GET', '/hosts')).length === 2;
  });
});

after(async () => {
  clearInterval(talk);
  await chrome?.close();
  await server?.end();
  bus?.destroy();
  if (broker?.kill()) await once(broker, 'exit');
  rmSync(dir, { recursive: true, force: true });
});

async function visit(path) {
  const visitor = await Visitor.comes(chrome, server);
  await visitor.login();
  await visitor.page.goto(path);
  await visitor.page.getByRole('heading', { level: 1, name: 'Network' }).waitFor();
  return visitor;
}

async function everyone(visitor, name) {
  const { page } = visitor;
  await until('nothing is being loaded', () => page.evaluate(() => !document.querySelector('[aria-busy="true"]')));
  await visitor.accessible();
  await page.setViewportSize(SIZES.phone);
  await visitor.accessible();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `on a phone it is ${wide} pixels too wide`);
  await page.setViewportSize(SIZES.desktop);
  await visitor.shoot(name);
}

test('without a report it says what each host lacks', async () => {
  const visitor = await visit('/network');
  await visitor.page.getByText('No host tells of its network yet').waitFor();
  await visitor.page.getByText(/it does after each interval/).first().waitFor();
  await everyone(visitor, 'network-empty');
  await visitor.leaves();
});

test('graph, matrix and table show who talks to whom and what is lost; a pair has its latencies', async () => {
  networks();
  await until('the map has both ends', async () => {
    const { edges } = await server.rest('GET', '/network/map');
    return edges.some((edge) => edge.from === 'a/web' && edge.to === 'b/db' && edge.loss_percent === 20);
  });
  const visitor = await visit('/network?view=graph');
  const { page } = visitor;
  await page.locator('svg text').filter({ hasText: /20.% lost/ }).waitFor();
  await page.getByRole('button', { name: 'db', exact: true }).waitFor();
  await page.getByText('Linux 5.17 or later').first().waitFor({ state: 'attached' });
  await everyone(visitor, 'network-graph');

  // By keyboard: a node, and all that it sends.
  await page.getByRole('button', { name: 'web', exact: true }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'All from a/web' }).getByText('150 packets').first().waitFor({ state: 'attached' });
  await page.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('region', { name: 'All from a/web' }).waitFor({ state: 'detached' });

  await page.getByRole('radio', { name: 'Matrix' }).check();
  await page.getByRole('button', { name: /^a\/web to b\/db: .* 20.% lost$/ }).click();
  const pair = page.getByRole('region', { name: 'a/web → b/db' });
  await pair.getByText('half of the round trip', { exact: false }).waitFor();
  await pair.getByText(/20\s%\sof 100 that both ends counted/).waitFor();
  await everyone(visitor, 'network-matrix');

  await page.getByRole('radio', { name: 'Table' }).check();
  await page.getByRole('row', { name: /a\/web.*a\/cache/ }).press('Enter');
  const within = page.getByRole('region', { name: 'a/web → a/cache' });
  await within.getByText('How 9 latencies are spread').click();
  await within.getByRole('row', { name: /4\.1.µs 6\.14.µs 6/ }).waitFor();
  await everyone(visitor, 'network-table');

  await page.getByRole('radio', { name: 'Projects' }).check();
  await page.getByRole('row', { name: /project:a\/shop.*project:b\/shop/ }).waitFor();
  await visitor.leaves();
});

test('rules begin from a template, say what is wrong, and hold', async () => {
  const visitor = await visit('/network');
  const { page } = visitor;
  visitor.forgive(/status of 400/);
  await page.getByText('What is traced and measured').click();
  const text = page.getByLabel('Rules, as TOML');
  await until('the rules are read', async () => (await text.inputValue()).includes('interval'));
  await page.getByLabel('Start from').selectOption('bridge');
  assert.match(await text.inputValue(), /"bridge"/);
  await text.fill('[sampling]\nlatency = 3\n');
  await page.getByRole('button', { name: 'Save rules' }).click();
  await page.getByText(/sampling\.latency: 3 is no power of two/).waitFor();
  await everyone(visitor, 'network-rules');
  await text.fill('interval = "5s"\n');
  await page.getByRole('button', { name: 'Save rules' }).click();
  await page.getByText('agents follow at once').waitFor();
  assert.equal((await server.rest('GET', '/network/rules')).interval, '5s');
  await page.getByRole('button', { name: 'Back to the defaults' }).click();
  await until('the defaults hold', async () => (await server.rest('GET', '/network/rules')).interval === '10s');
  await visitor.leaves();
});

test('whoever may only read sees the rules and cannot change them', async () => {
  const visitor = await Visitor.comes(chrome, server);
  await visitor.login(await server.mint('viewer', 'read'));
  const { page } = visitor;
  await page.goto('/network');
  await page.getByText('What is traced and measured').click();
  await page.getByText('log in with a token that may write').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Save rules' }).isDisabled());
  await visitor.leaves();
});

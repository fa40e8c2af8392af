// What is read as one line: bursts of events, and incidents by host, project and container.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { after, test } from 'node:test';
import { createServer } from 'vite';

const server = await createServer({
  root: fileURLToPath(new URL('..', import.meta.url)),
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  appType: 'custom',
  logLevel: 'error',
  optimizeDeps: { noDiscovery: true },
});
after(() => server.close());
const { bursts, subjects, summary } = await server.ssrLoadModule('/src/lib/history.ts');
const { lines, spanOf } = await server.ssrLoadModule('/src/lib/incidents.ts');

const BASE = Date.parse('2026-11-22T10:01:00Z');
const at = (seconds) => new Date(BASE + seconds * 1000).toISOString();
let made = 0;
const event = (seconds, host, container = null, kind = 'container_failing') => ({ id: `e${(made += 1)}`, seq: made, time: at(seconds), host, container, kind, by: 'agent', reason: '' });
const incident = (from, until, host, container = null, kind = 'container') => ({
  id: `i${(made += 1)}`,
  kind,
  host,
  container,
  network: null,
  opened_at: at(from),
  closed_at: until === null ? null : at(until),
  events: 1,
  reason: '',
});
const newestFirst = (all) => all.toSorted((a, b) => (a.opened_at ?? a.time) < (b.opened_at ?? b.time) ? 1 : -1);
const none = () => null;

test('many events of one host are one line, and others between them stay where they are', () => {
  const host = [0, 5, 10, 15, 20].map((seconds) => event(seconds, 'a', `c${seconds}`));
  const other = event(12, 'b', 'x');
  const found = bursts(newestFirst([...host, other]));
  assert.deepEqual(found.map((burst) => burst.events.length), [5, 1]);
  assert.equal(found[1].events[0], other);
  assert.equal(subjects(found[0].events), '5\u00a0containers');
  assert.equal(summary(found[0].events), '5\u00a0failing');
});

test('few events, and those far from each other, are lines of their own', () => {
  assert.equal(bursts(newestFirst([0, 5, 10, 15].map((seconds) => event(seconds, 'a')))).length, 4);
  assert.equal(bursts(newestFirst([0, 100, 200, 300, 400].map((seconds) => event(seconds, 'a')))).length, 5);
});

test('a line keeps its name while newer events come to it', () => {
  const before = [0, 5, 10, 15, 20].map((seconds) => event(seconds, 'a'));
  const [first] = bursts(newestFirst(before));
  const [later] = bursts(newestFirst([...before, event(25, 'a')]));
  assert.equal(first.key, later.key);
  assert.equal(later.events.length, 6);
});

test('whatever happens, each event and each incident is in one line', () => {
  let state = 7;
  const number = (below) => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
  for (let round = 0; round < 200; round += 1) {
    const events = newestFirst(Array.from({ length: number(60) }, () => event(number(3000), `h${number(3)}`, number(3) ? `c${number(5)}` : null)));
    const inBursts = bursts(events).flatMap((burst) => burst.events);
    assert.deepEqual(inBursts.map((one) => one.id).sort(), events.map((one) => one.id).sort());
    const kinds = ['container', 'container', 'container', 'host', 'engine', 'network'];
    const incidents = newestFirst(
      Array.from({ length: number(40) }, () => {
        const from = number(3000);
        return incident(from, number(3) ? from + number(900) : null, `h${number(3)}`, `c${number(6)}`, kinds[number(kinds.length)]);
      }),
    );
    const inLines = lines(incidents, (one) => (one.container < 'c3' ? 'shop' : null)).flatMap((line) => line.incidents);
    assert.deepEqual(inLines.map((one) => one.id).sort(), incidents.map((one) => one.id).sort());
  }
});

test('one dead host is one line with its containers, and a container of another host is not among them', () => {
  const host = incident(60, null, 'a', null, 'host');
  const own = [incident(20, null, 'a', 'x'), incident(70, 90, 'a', 'y')];
  const other = incident(65, null, 'b', 'x');
  const found = lines(newestFirst([host, ...own, other]), none);
  assert.equal(found.length, 2);
  const dead = found.find((line) => line.head === host);
  assert.equal(dead.level, 'host');
  assert.equal(dead.incidents.length, 3);
  assert.deepEqual(spanOf(dead.incidents), { from: BASE + 20_000, to: null });
});

test('what began after a host was back is not blamed on it', () => {
  const host = incident(0, 60, 'a', null, 'host');
  const late = incident(400, null, 'a', 'x');
  assert.equal(lines(newestFirst([host, late]), none).length, 2);
});

test('several containers of one project that fail together are one line of the project', () => {
  const own = [incident(0, null, 'a', 'web'), incident(10, null, 'a', 'db')];
  const [line, ...rest] = lines(newestFirst(own), () => 'shop');
  assert.equal(rest.length, 0);
  assert.equal(line.level, 'project');
  assert.equal(line.project, 'shop');
});

test('a container that fails again and again is one line, named after the newest', () => {
  const all = [incident(0, 60, 'a', 'x'), incident(300, 360, 'a', 'x'), incident(600, null, 'a', 'x'), incident(9000, null, 'a', 'x')];
  const found = lines(newestFirst(all), none);
  assert.deepEqual(found.map((line) => line.incidents.length), [1, 3]);
  assert.equal(found[1].head, all[2]);
});

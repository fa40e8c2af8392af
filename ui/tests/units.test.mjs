// The pages' plain functions, without a browser: what is decoded, found, ordered and written.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { after, test } from 'node:test';
import { createServer } from 'vite';

const server = await createServer({
  root: fileURLToPath(new URL('..', import.meta.url)),
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  appType: 'custom',
  logLevel: 'error',
});
after(() => server.close());
const load = (path) => server.ssrLoadModule(path);

/** Numbers below `below`, the same in each run. */
function numbers(seed) {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state % below;
  };
}

test('an event stream is read the same wherever it is cut', async () => {
  const { Parser } = await load('/src/lib/stream.ts');
  const text =
    ':dockhealth\nretry:2000\n\nevent:event\nid:7\ndata:{"a":\ndata: 1}\n\r\ndata: plain\r\n\r\n:\n\nevent:host\n\nevent: lagged\ndata:{"missed":3}\n\ndata:cut off';
  const expected = [
    ['event', '{"a":\n1}', '7'],
    ['message', 'plain', '7'],
    ['lagged', '{"missed":3}', '7'],
  ];
  const read = (pieces) => {
    const told = [];
    const parser = new Parser((...message) => told.push(message));
    pieces.forEach((piece) => parser.push(piece));
    return told;
  };
  assert.deepEqual(read([text]), expected);
  assert.deepEqual(read([...text]), expected, 'cut after each letter');
  const next = numbers(42);
  for (let run = 0; run < 200; run += 1) {
    const cuts = Array.from({ length: next(9) }, () => next(text.length)).sort((a, b) => a - b);
    const pieces = [0, ...cuts].map((from, index) => text.slice(from, cuts[index] ?? text.length));
    assert.deepEqual(read(pieces), expected, `cut at ${cuts}`);
  }
});

test('figures are short, and what is unknown is never 0', async () => {
  const { ago, bytes, count, millis, percent, plural, span } = await load('/src/lib/format.ts');
  const plain = (text) => text.replace(/[\u00a0\u202f]/g, ' ');
  for (const show of [bytes, count, millis, percent, span]) {
    assert.equal(show(null), '–');
    assert.equal(show(undefined), '–');
  }
  const cases = [
    [percent(0), '0 %'],
    [percent(0.04), '<0.1 %'],
    [percent(8), '8 %'],
    [percent(8.06), '8.1 %'],
    [percent(99.6), '100 %'],
    [bytes(0), '0 B'],
    [bytes(1023), '1.00 KiB'],
    [bytes(1_468_006), '1.40 MiB'],
    [bytes(25_276_502_016), '23.5 GiB'],
    [count(20_000), '20 000'],
    [plural(1, 'host'), '1 host'],
    [plural(0, 'host'), '0 hosts'],
    [millis(0.0234), '0.02 ms'],
    [millis(1500), '1.5 s'],
    [span(0), '0 s'],
    [span(90_061), '1 d 1 h'],
    [span(3600), '1 h'],
    [ago(1000, 1500), 'now'],
    [ago(0, 59_000), '59 s ago'],
    [ago(0, 7_300_000), '2 h ago'],
    [ago(3_600_000, 0), 'in 1 h'],
  ];
  for (const [got, expected] of cases) assert.equal(plain(got), expected);
});

test('a range in an address is read as it was written, and anything else is the last hour', async () => {
  const { rangeOf, readView, writeView } = await load('/src/lib/ranges.ts');
  for (const view of [
    { span: '1h', zoom: null },
    { span: '7d', zoom: null },
    { span: '24h', zoom: [1_795_345_000, 1_795_348_600] },
  ]) {
    assert.deepEqual(readView(writeView(view)), view);
  }
  for (const text of [null, '', 'x', '2h', 'toString', '1h@5-3', '1h@a-b', '1h@-', '1h@1-99999999999999']) {
    assert.deepEqual(readView(text), { span: '1h', zoom: null }, String(text));
  }
  assert.deepEqual(rangeOf({ span: '1h', zoom: null }, 10_000), [6400, 10_000]);
});

function container(name, more = {}) {
  return {
    hostname: 'h', name, status: 'running', monitored: true, id: name, image: `img/${name}:1`, health: 'healthy', loss_percent: 0,
    rtt_ms: 1, restarts: 0, networks: [], addresses: [], project: null, service: null, reason: '', ...more,
  };
}

test('containers are found by all words, the worst first, and the unknown last either way', async () => {
  const { findContainers } = await load('/src/lib/find.ts');
  const containers = [
    container('web-1', { rtt_ms: 3, addresses: ['10.0.0.7'] }),
    container('web-2', { health: 'failing', rtt_ms: null }),
    container('web-10', { health: 'quarantined', rtt_ms: 1, project: 'Shop' }),
    container('<b>db</b>', { health: 'a word of later' }),
  ];
  const rows = [{ name: 'h', words: 'h 192.0.2.1', containers }];
  const names = (text, healths, by, down) => findContainers(rows, text, new Set(healths), by, down).map((one) => one.name);
  assert.deepEqual(names('', [], 'health', false), ['web-2', 'web-10', '<b>db</b>', 'web-1']);
  assert.deepEqual(names('', ['failing', 'quarantined'], 'health', true), ['web-10', 'web-2']);
  assert.deepEqual(names('', ['unknown'], 'host', false), ['<b>db</b>']);
  assert.deepEqual(names('WEB 10.0', [], 'host', false), ['web-1']);
  assert.deepEqual(names('shop', [], 'host', false), ['web-10']);
  assert.deepEqual(names('192.0.2.1 web-2', [], 'host', false), ['web-2']);
  assert.deepEqual(names('web', [], 'name', false), ['web-1', 'web-2', 'web-10']);
  assert.deepEqual(names('web', [], 'rtt', false), ['web-10', 'web-1', 'web-2']);
  assert.deepEqual(names('web', [], 'rtt', true), ['web-1', 'web-10', 'web-2']);
});

test('what hinders a host most is its word', async () => {
  const { wordOf } = await load('/src/lib/hosts.ts');
  const { HEALTHS } = await load('/src/lib/health.ts');
  const counts = (health) => HEALTHS.map((one) => (one === health ? 1 : 0));
  const agent = { engine: { status: 'reachable' }, capabilities: [{ name: 'icmp', works: true, detail: '' }], freeze: null, failing: 0 };
  const row = (host, health = 'healthy') => ({ host: { conflict: null, presence: 'live', agent, ...host }, counts: counts(health) });
  const word = (...of) => wordOf(row(...of)).state;
  assert.equal(word({}), 'well');
  assert.equal(word({}, 'failing'), 'failing');
  assert.equal(word({}, 'degraded'), 'degraded');
  assert.equal(word({ presence: 'silent' }, 'failing'), 'silent');
  assert.equal(word({ presence: 'silent', conflict: 'two' }), 'conflict');
  assert.equal(word({ agent: { ...agent, engine: { status: 'unreachable' } } }, 'failing'), 'engine');
  assert.equal(word({ agent: { ...agent, capabilities: [{ name: 'icmp', works: false, detail: 'no' }] } }), 'limited');
  assert.equal(word({ agent: null }), 'unknown');
  assert.equal(wordOf({ host: null, counts: counts('healthy') }).state, 'unknown');
});

test('lines of several containers share one axis, and only what is known is drawn', async () => {
  const { joined } = await load('/src/lib/joined.ts');
  const one = { t: [10, 20, 40], values: [1, null, 3] };
  assert.deepEqual(joined([one]), { t: one.t, values: [one.values] });
  assert.deepEqual(joined([one, { t: [20, 30], values: [7, 8] }]), {
    t: [10, 20, 30, 40],
    values: [
      [1, null, undefined, 3],
      [undefined, 7, 8, undefined],
    ],
  });
});

test('the pages know every metric of the catalogue, and what it is of', async () => {
  const { METRICS, unitOf } = await load('/src/lib/metrics.ts');
  const source = readFileSync(new URL('../../src/model/metric.rs', import.meta.url), 'utf8');
  const catalogue = source.matchAll(/(?:gauge|counter)\(\s*"([a-z0-9_]+)",\s*(Both|Container|Host),/g);
  const expected = [...catalogue].map(([, name, of]) => `${name} of ${of.toLowerCase()}`).sort();
  assert.ok(expected.length > 50, `only ${expected.length} were found in metric.rs`);
  assert.deepEqual(METRICS.map((metric) => `${metric.name} of ${metric.of}`).sort(), expected);
  assert.equal(unitOf('net_rx_bytes_per_second'), 'rate');
  assert.equal(unitOf('cpu_throttled_seconds_per_second'), 'count');
  assert.equal(unitOf('uptime_seconds'), 'seconds');
  assert.equal(unitOf('load1'), 'count');
});

test('the network graph is the same for the same names, and nothing of it overlaps', async () => {
  const { apart, curve, layout, links, NODE, coarser, told } = await load('/src/lib/network.ts');
  const next = numbers(11);
  for (const [width, size] of [[300, 30], [1200, 400], [1200, 5000]]) {
    const nodes = Array.from({ length: size }, (_, at) => ({
      id: `h${at % 7}/c${at}`, kind: at % 9 ? 'container' : 'gateway', hostname: at % 50 ? `h${at % 7}` : null, name: `c${at}`, project: at % 3 ? `p${at % 3}` : null, shared_by: [],
    }));
    const plan = layout(nodes, width);
    assert.equal(plan.spots.size, size);
    const shuffled = nodes.map((node) => [next(1e6), node]).sort((x, y) => x[0] - y[0]).map(([, node]) => node);
    assert.deepEqual([...layout(shuffled, width).spots], [...plan.spots]);
    const all = [...plan.spots.values()];
    for (const x of new Set(all.map((spot) => spot.x))) {
      const ys = all.filter((spot) => spot.x === x).map((spot) => spot.y).sort((x, y) => x - y);
      assert.ok(ys.every((y, at) => at === 0 || y - ys[at - 1] >= NODE.height), 'one below the other');
      assert.ok(ys.at(-1) + NODE.height <= plan.height);
    }
    const [a, b] = all;
    assert.match(curve(a, b).d, /^M[\d.]+ [\d.]+C/);
  }
  assert.deepEqual([coarser('container', 100), coarser('container', 1000), coarser('project', 1000), coarser('host', 1000)], [null, 'project', 'host', null]);
  const edge = (from, to, more) => ({ from, to, bytes_per_second: 1024, loss_percent: null, retransmits: null, drops: null, latency_us_p50: null, ...more });
  const [one, two] = links([edge('a', 'b', { loss_percent: 2 }), edge('b', 'a', { latency_us_p50: 80, latency_kind: 'half_rtt' }), edge('c', 'a', { bytes_per_second: null })]);
  assert.deepEqual([one.id, one.tone, two.tone, two.rate], ['a|b', 'bad', 'quiet', 0]);
  assert.deepEqual(told(one).map((line) => line.replace(/\u00a0/g, ' ')), ['2.00 KiB/s · ~80 µs', '2 % lost']);
  const words = apart([{ d: '', x: 0, y: 0 }, { d: '', x: 20, y: 3 }, { d: '', x: 400, y: 3 }]);
  assert.deepEqual(words.map(({ y }) => y), [0, 27, 3]);
});

// What scripts/bench.d/ui.py measures in the browser; one line of JSON at the end.
//
//   node bench.mjs fleet URL HOSTS CONTAINERS MINUTES     the Fleet page of a large fleet
//   node bench.mjs kill URL CONTAINER                     from a kill until the container's page says so
import { execFileSync } from 'node:child_process';
import { browser } from './harness.mjs';

const [part, url, ...args] = process.argv.slice(2);
const chrome = await browser();
const context = await chrome.newContext({ baseURL: url, viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce' });
const page = await context.newPage();
page.setDefaultTimeout(60_000);
const parts = { fleet, kill };
const told = await parts[part](...args);
await chrome.close();
console.log(JSON.stringify(told));

async function fleet(hosts, containers, minutes) {
  // In every window from its beginning: when the first host can be gone to.
  await context.addInitScript(() => {
    const look = () => {
      if (document.querySelector('main article h2 a')) {
        // Shown by the next frame, and the page has time for us again.
        requestAnimationFrame(() => setTimeout(() => (globalThis.interactive = performance.now())));
      } else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  await page.goto('/');
  await page.waitForFunction(() => globalThis.interactive);
  const first = await page.evaluate(() => {
    const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
    const before = performance.getEntriesByType('resource').filter((one) => one.startTime < paint && !one.name.endsWith('/favicon.svg'));
    return { paint_ms: paint, interactive_ms: globalThis.interactive, requests: 1 + before.length };
  });
  // All containers are there before anything is scrolled.
  await page.waitForFunction(
    (all) => document.querySelector('main').innerText.replace(/[^0-9a-z]/gi, '').includes(`${all}containers`),
    hosts * containers,
  );
  const heapFirst = await heap();
  const scroll = [];
  const filter = [];
  for (const view of ['/', '/?view=hosts', '/?view=containers']) {
    await page.goto(view);
    await page.waitForFunction(() => globalThis.interactive || document.querySelector('main [role=row][aria-rowindex="2"]'));
    scroll.push(...(await frames(wheel)));
    await page.evaluate(() => scrollTo(0, 0));
    filter.push(...(await frames(type)));
  }
  await page.goto('/');
  await page.waitForFunction(() => globalThis.interactive);
  await page.waitForTimeout(minutes * 60_000);
  const state = await page.locator('[data-connection]').first().getAttribute('data-connection');
  if (state !== 'live') throw new Error(`the page is ${state} after ${minutes} minutes`);
  return {
    ...first,
    scroll_p95_ms: p95(scroll),
    filter_p95_ms: p95(filter),
    heap_first_mb: heapFirst,
    heap_mb: await heap(),
  };
}

async function wheel() {
  await page.mouse.move(700, 600);
  for (let turn = 0; turn < 60; turn += 1) await page.mouse.wheel(0, 400);
}

async function type() {
  const search = page.getByRole('searchbox');
  for (const text of ['1', '12', '', 'web', 'db', '']) {
    await search.fill(text);
    // As fast as people type words.
    await page.waitForTimeout(300);
  }
}

/** The lengths of all frames while `act` is done, ms. */
async function frames(act) {
  await page.evaluate(() => {
    globalThis.frames = [];
    globalThis.watching = true;
    let last = performance.now();
    const frame = (now) => {
      globalThis.frames.push(now - last);
      last = now;
      if (globalThis.watching) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await act();
  return page.evaluate(() => {
    globalThis.watching = false;
    return globalThis.frames.slice(1);
  });
}

function p95(all) {
  return [...all].sort((a, b) => a - b)[Math.floor(all.length * 0.95)];
}

/** What the page's scripts hold, MB. */
async function heap() {
  const cdp = await context.newCDPSession(page);
  await cdp.send('HeapProfiler.collectGarbage');
  const { usedSize } = await cdp.send('Runtime.getHeapUsage');
  await cdp.detach();
  return usedSize / 1e6;
}

async function kill(container) {
  await page.goto(`/containers/bench/${container}`);
  await page.locator('[data-connection="live"]').waitFor();
  await page.getByRole('heading', { level: 1 }).filter({ hasText: 'healthy' }).waitFor();
  const before = await page.getByText(`${container} is down`).count();
  console.log('ready');
  const killed = performance.now();
  execFileSync('docker', ['kill', container], { stdio: 'ignore' });
  await page.waitForFunction(
    ([text, before]) => document.body.innerText.split(text).length - 1 > before,
    [`${container} is down`, before],
    { polling: 'raf' },
  );
  return { ms: performance.now() - killed };
}

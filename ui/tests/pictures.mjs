// Pictures for the documentation, of a fleet that works: sixteen simulated hosts, and a real one whose shop is busy, loses
// packets and crashes now and then. What scripts/screenshots runs; PICTURES_MINUTES says how much its charts shall show.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Engine } from './engine.mjs';
import { binary, browser, Server, SHOTS, SIZES, Visitor } from './harness.mjs';

const MINUTES = Number(process.env.PICTURES_MINUTES ?? 20);
const HOST = 'shop-1';
const dir = mkdtempSync(join(tmpdir(), 'dhtest-pictures-'));
const ends = [() => rmSync(dir, { recursive: true, force: true })];

try {
  await pictures();
} finally {
  for (const end of ends.reverse()) await end();
}

/** A process of ours that ends with us. */
function started(program, args, env = {}) {
  const child = spawn(program, args, { stdio: 'ignore', env: { PATH: process.env.PATH, ...env } });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  ends.push(async () => {
    child.kill('SIGTERM');
    await ended;
  });
}

async function freePort() {
  const server = createServer();
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

async function pictures() {
  const port = await freePort();
  const nats = `nats://127.0.0.1:${port}`;
  started('nats-server', ['--addr', '127.0.0.1', '--port', String(port), '--jetstream', '--store_dir', join(dir, 'js')]);
  const server = await Server.start('controller', ['--nats', nats]);
  ends.push(() => server.end());
  const engine = await Engine.start();
  ends.push(() => engine.end());
  await shop(engine);
  const state = (name) => ({ DOCKHEALTH_DATA_DIR: join(dir, name), DOCKHEALTH_CONFIG: '/dev/null' });
  started(binary(), ['agent', '--nats', nats, '--hostname', HOST, '--docker-host', engine.address], state('agent'));
  started(binary(), ['simulate', '--nats', nats, '--hosts', '16', '--containers', '12', '--seed', '7', '--for', '24h', '--beside-real-hosts'], state('sim'));
  await server.sees('shop-web-1', (one) => one.health === 'healthy');

  const began = Date.now();
  for (let minute = 1; Date.now() - began < MINUTES * 60_000; minute += 1) {
    await pause(Math.min(60_000, began + MINUTES * 60_000 - Date.now()));
    if (minute % 6 === 3) await engine.crash('shop-web-1').catch(() => {});
    if (minute % 8 === 5) await engine.crash('shop-queue-1').catch(() => {});
  }

  const chrome = await browser();
  ends.push(() => chrome.close());
  const visitor = await Visitor.comes(chrome, server, { deviceScaleFactor: 1.5 });
  visitor.forgive(/./);
  await visitor.login();
  mkdirSync(SHOTS, { recursive: true });
  const picture = async (path, name, colorScheme = 'light', size = 'desktop') => {
    const { page } = visitor;
    await page.setViewportSize(SIZES[size]);
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto(path);
    await page.locator('[data-connection="live"]').waitFor();
    await page.waitForFunction(() => !document.querySelector('[aria-busy="true"]'));
    await page.waitForLoadState('networkidle', { timeout: 5_000 }).catch(() => {});
    await page.screenshot({ path: join(SHOTS, `${name}.png`), animations: 'disabled' });
  };
  const web = `/containers/${HOST}/shop-web-1`;
  await picture('/', 'fleet');
  await picture(`/hosts/${HOST}`, 'host');
  await picture('/settings', 'settings');
  await picture(web, 'container-dark', 'dark');
  await picture('/', 'fleet-phone', 'light', 'phone');
}

/** A shop of busybox: one serves, one asks, one writes, one loses packets. */
async function shop(engine) {
  const root = join(dir, 'root');
  mkdirSync(join(root, 'bin'), { recursive: true });
  mkdirSync(join(root, 'www'));
  writeFileSync(join(root, 'www/index.html'), 'x'.repeat(40_000));
  const applets = 'for a in $(/bin/busybox --list); do [ -e bin/$a ] || ln -s busybox bin/$a; done';
  execFileSync('sh', ['-c', `cd ${root}; cp /bin/busybox bin/; ${applets}; tar -c . | docker --host ${engine.address} import - shop:7`]);
  const run = (service, script, options = []) => {
    const labels = ['com.docker.compose.project=shop', `com.docker.compose.service=${service}`, 'dockhealth.monitor=true'];
    const named = labels.flatMap((label) => ['--label', label]);
    return engine.docker('run', '--detach', '--stop-signal', 'KILL', '--name', `shop-${service}-1`, ...named, ...options, 'shop:7', 'sh', '-c', script);
  };
  await run('web', 'httpd -p 80 -h /www; while :; do dd if=/dev/zero bs=1M count=$((RANDOM % 60)) 2>/dev/null | md5sum >/dev/null; sleep 1; done');
  await run('checkout', 'while :; do dd if=/dev/zero bs=1M count=$((RANDOM % 20)) 2>/dev/null | md5sum >/dev/null; sleep 3; done');
  await run('db', 'while :; do dd if=/dev/zero of=/data bs=64k count=$((RANDOM % 80)) conv=fsync 2>/dev/null; sleep 2; done');
  await run('queue', 'sleep 1000000');
  await engine.run('shop-mail-1', ['--cap-add', 'NET_ADMIN', '--label', 'com.docker.compose.project=shop', '--label', 'dockhealth.monitor=true'], ['dummy', '--loss', '8']);
  await engine.run('registry');
  const address = await engine.docker('inspect', '--format', '{{.NetworkSettings.IPAddress}}', 'shop-web-1');
  const customers = setInterval(() => fetch(`http://${address}/`).then((page) => page.text()).catch(() => {}), 200);
  ends.push(() => clearInterval(customers));
}

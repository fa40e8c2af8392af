// What the browser tests share: a real `dockhealth up`, and Chromium, in which an error of a page, a breach of its policy
// or a request to anywhere else fails the test.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { chromium } from 'playwright-core';

const root = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../..');

/** Nothing that a test waits for takes longer, ms. */
export const DEADLINE = 30_000;

/** Where screenshots go. */
export const SHOTS = process.env.UI_SHOTS ?? join(root, 'target/ui');

/** The name of `up`'s host. */
export const HOST = 'vm';

/** A desk and a hand. */
export const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };

/** The binary under test: the one named in DOCKHEALTH_BIN, or the newest debug build. */
export function binary() {
  if (process.env.DOCKHEALTH_BIN) return process.env.DOCKHEALTH_BIN;
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const built = existsSync(target) ? readdirSync(target).map((dir) => join(target, dir, 'debug/dockhealth')) : [];
  const found = built.filter(existsSync).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
  assert.ok(found, `no debug build in ${target}: cargo build makes one, or name a binary in DOCKHEALTH_BIN`);
  return found;
}

/** Polls until `probe` gives something; fails with `what` after the deadline. */
export async function until(what, probe, deadline = DEADLINE) {
  const end = performance.now() + deadline;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(performance.now() < end, `${what}: not within ${deadline / 1000} s`);
    await new Promise((soon) => setTimeout(soon, 25));
  }
}

/** `dockhealth up`, or another program that serves, with a data directory of its own on a port of its own. */
export class Server {
  #child;
  #log = '';
  #ended = false;

  /** Starts `up` for the engine at an address, or for none, and waits until it listens. */
  static async up(engine, args = ['--interval', '2s', '--metrics-interval', '1s']) {
    return Server.start('up', args, engine);
  }

  /** Starts a program and waits until it listens. */
  static async start(program, args, engine) {
    const server = new Server();
    server.engine = engine;
    server.dir = mkdtempSync(join(tmpdir(), 'dhtest-ui-'));
    server.args = args;
    server.program = program;
    await server.#spawn('127.0.0.1:0');
    return server;
  }

  async #spawn(listen) {
    const env = { DOCKHEALTH_DATA_DIR: this.dir, DOCKHEALTH_CONFIG: '/dev/null', TZ: 'UTC' };
    // Without an engine a host has no name of its own, and is not there.
    const up = this.engine ? ['--hostname', HOST, '--docker-host', this.engine] : ['--docker-host', 'unix:///nonexistent.sock'];
    const own = this.program === 'up' ? up : [];
    const begun = this.#log.length;
    this.#ended = false;
    const options = { env, stdio: ['ignore', 'ignore', 'pipe'] };
    this.#child = spawn(binary(), [this.program, '--listen', listen, ...own, ...this.args], options);
    this.#child.stderr.on('data', (text) => (this.#log += text));
    this.#child.on('exit', () => (this.#ended = true));
    const told = /listening on http:\/\/(\S+)/;
    const address = await until('it listens', () => {
      assert.ok(!this.#ended, `it ended:\n${this.#log}`);
      return this.#log.slice(begun).match(told)?.[1];
    });
    this.base = `http://${address}`;
    this.token = readFileSync(join(this.dir, 'token'), 'utf8').trim();
  }

  /** What it logged. */
  get log() {
    return this.#log;
  }

  get pid() {
    return this.#child.pid;
  }

  /** `method` on /api/v1PATH with the first token; gives the body, null where there is none. */
  async rest(method, path, body) {
    const headers = { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' };
    const answer = await fetch(`${this.base}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** Makes a token of a scope. */
  async mint(name, scope) {
    return (await this.rest('POST', '/tokens', { name, scope })).token;
  }

  /** Waits until the agent reports the container, and `is` holds of it. */
  async sees(name, is = () => true) {
    return until(`the agent reports ${name}`, async () => {
      const list = await this.rest('GET', '/containers');
      return list.find((one) => one.name === name && is(one));
    });
  }

  /** Ends it, as a crash or in order. */
  async stop(signal = 'SIGTERM') {
    if (!this.#ended) this.#child.kill(signal);
    await until('it ends', () => this.#ended);
  }

  /** Starts it again at the same address with the same data. */
  async again() {
    await this.#spawn(this.base.slice('http://'.length));
  }

  async end() {
    await this.stop('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Chromium, as Debian has it. */
export async function browser() {
  const path = process.env.CHROMIUM ?? '/usr/bin/chromium';
  assert.ok(existsSync(path), `this test needs Chromium at ${path} (scripts/test installs it), or its path in CHROMIUM`);
  // Root has no sandbox there, and needs none from pages that are our own.
  const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath: path, args: [...args, '--disable-dev-shm-usage'] });
}

/** Somebody at a browser window; what their pages do wrong is noted. */
export class Visitor {
  faults = [];
  // Chromium gives up what it is loading when an interface comes or goes, as one does with each container; the pages ask again.
  #forgiven = [/ERR_NETWORK_CHANGED/];

  /** A visitor who has never been there. `settings` are those of Playwright's newContext. */
  static async comes(chrome, server, settings = {}) {
    const visitor = new Visitor();
    visitor.server = server;
    visitor.context = await chrome.newContext({ baseURL: server.base, viewport: SIZES.desktop, ...settings });
    visitor.context.setDefaultTimeout(DEADLINE);
    await visitor.context.route(
      (url) => url.origin !== server.base && url.protocol !== 'data:',
      (route) => {
        visitor.faults.push(`a request to ${route.request().url()}`);
        return route.abort();
      },
    );
    await visitor.context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (breach) =>
        console.error(`policy: ${breach.violatedDirective} ${breach.blockedURI}`),
      );
    });
    visitor.page = await visitor.opens();
    return visitor;
  }

  /** A further window. */
  async opens() {
    const page = await this.context.newPage();
    page.on('pageerror', (error) => this.faults.push(`an error of the page: ${error.name} ${error.message} ${error.stack}`));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.faults.push(`${message.text()} (${message.location().url})`);
    });
    page.on('dialog', (dialog) => {
      this.faults.push(`a dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    return page;
  }

  /** Faults that match are meant to be. */
  forgive(...patterns) {
    this.#forgiven.push(...patterns);
  }

  /** Fails where a page did something wrong. */
  check() {
    const faults = this.faults.filter((fault) => !this.#forgiven.some((pattern) => pattern.test(fault)));
    assert.deepEqual(faults, []);
  }

  /** Logs in on the login page. */
  async login(token = this.server.token) {
    await this.page.goto('/login');
    await this.page.getByLabel('Access token', { exact: false }).fill(token);
    await this.page.getByRole('button', { name: /log in/i }).click();
    await this.page.waitForURL((url) => url.pathname !== '/login');
  }

  /** Takes pictures of the present page, `NAME-desktop.png` and `NAME-phone.png`, once all it shows is there. */
  async shoot(name) {
    mkdirSync(SHOTS, { recursive: true });
    for (const [size, viewport] of Object.entries(SIZES)) {
      await this.page.setViewportSize(viewport);
      await this.page.waitForFunction(() => !document.querySelector('[aria-busy="true"]'));
      await this.page.screenshot({ path: join(SHOTS, `${name}-${size}.png`), animations: 'disabled' });
    }
    await this.page.setViewportSize(SIZES.desktop);
  }

  /** Fails where axe finds something serious on the present page, in light or in dark. */
  async accessible() {
    for (const colorScheme of ['light', 'dark']) {
      await this.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      // Colours that are still on their way to the others are neither: they are brought there.
      await this.page.evaluate(async () => {
        await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
        for (const one of document.getAnimations()) if (one instanceof CSSTransition) one.finish();
      });
      await this.page.evaluate(axe());
      const { violations } = await this.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
      const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
      const told = serious.flatMap(({ id, help, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${help}: ${html.slice(0, 200)}: ${failureSummary}`),
      );
      assert.deepEqual(told, [], `${this.page.url()} in ${colorScheme}`);
    }
    await this.page.emulateMedia({ colorScheme: null, reducedMotion: null });
  }

  /** Goes, after a check. */
  async leaves() {
    await this.context.close();
    this.check();
  }
}

let source;
function axe() {
  source ??= readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  return source;
}

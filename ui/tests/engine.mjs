// A Docker engine of the tests' own: its own data, socket and bridge, so that pages show these tests' containers alone,
// under names as people give them, and so that it can be ended.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binary, until } from './harness.mjs';

const run = promisify(execFile);

/** How long an engine may take to begin or end on a busy machine, ms. */
const SLOWEST = 60_000;

/** The image in it: the binary under test and nothing else, from scratch. */
const IMAGE = 'dockhealth:test';

export class Engine {
  #child;
  #ended = true;

  /** Starts an engine that has the image and no container. */
  static async start() {
    const engine = new Engine();
    engine.dir = mkdtempSync(join(tmpdir(), 'dhtest-engine-'));
    const nonce = randomBytes(4);
    engine.bridge = `dht${nonce.toString('hex')}`;
    await run('ip', ['link', 'add', engine.bridge, 'type', 'bridge']);
    await run('ip', ['address', 'add', `10.${nonce[0] | 128}.${nonce[1]}.1/24`, 'dev', engine.bridge]);
    await run('ip', ['link', 'set', engine.bridge, 'up']);
    await engine.begin();
    const entry = `--change 'ENTRYPOINT ["/dockhealth"]'`;
    const script = `set -e; mkdir '${engine.dir}/root'; cd '${engine.dir}/root'; strip -o dockhealth '${binary()}'; mkdir data tmp
      tar -c . | docker --host '${engine.address}' import ${entry} - ${IMAGE}; rm -r '${engine.dir}/root'`;
    await run('sh', ['-c', script]);
    return engine;
  }

  /** Where it listens, as `DOCKER_HOST` says it. */
  get address() {
    return `unix://${this.dir}/docker.sock`;
  }

  /** Starts it, after it was ended too. */
  async begin() {
    const log = openSync(join(this.dir, 'log'), 'a');
    const at = (name) => join(this.dir, name);
    const args = ['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('pid'), '--host', this.address];
    args.push('--bridge', this.bridge, '--iptables=false', '--ip6tables=false', '--ip-masq=false', '--ip-forward=false');
    // Where the machine has one containerd for all, two engines must not share what is in it.
    args.push('--containerd-namespace', this.bridge, '--containerd-plugins-namespace', `${this.bridge}-plugins`);
    this.#child = spawn('dockerd', args, { stdio: ['ignore', log, log] });
    this.#ended = false;
    this.#child.on('exit', () => (this.#ended = true));
    const answers = async () => {
      assert.ok(!this.#ended, `dockerd ended:\n${readFileSync(at('log'), 'utf8').slice(-2000)}`);
      return this.docker('version').then(() => true, () => false);
    };
    await until('dockerd answers', answers, SLOWEST);
  }

  /** Ends it in order, which stops its containers. */
  async stop() {
    if (!this.#ended) this.#child.kill('SIGTERM');
    await until('dockerd ends', () => this.#ended, SLOWEST);
  }

  /** Runs `docker` on it; gives what it printed. */
  async docker(...args) {
    const { stdout } = await run('docker', ['--host', this.address, ...args], { maxBuffer: 1 << 24 });
    return stdout.trim();
  }

  /** Runs a container that tells the time now and then, with further options of `docker run`. */
  async run(name, options = [], args = ['dummy', '--every', '1h']) {
    await this.docker('run', '--detach', '--stop-signal', 'KILL', '--name', name, ...options, IMAGE, ...args);
  }

  /** Kills a container's first process behind the engine's back. */
  async crash(name) {
    process.kill(Number(await this.docker('inspect', '--format', '{{.State.Pid}}', name)), 'SIGKILL');
  }

  /** Removes its containers, ends it, and removes it. */
  async end() {
    if (this.#ended) await this.begin();
    const all = (await this.docker('ps', '--all', '--quiet')).split('\n').filter(Boolean);
    if (all.length) await this.docker('rm', '--force', '--volumes', ...all);
    await this.stop();
    const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((line) => line.split(' ')[1] ?? '');
    const ours = mounts.filter((path) => path.startsWith(this.dir)).sort((a, b) => b.length - a.length);
    for (const path of ours) await run('umount', ['--lazy', path]).catch(() => {});
    rmSync(this.dir, { recursive: true, force: true });
    await run('ip', ['link', 'delete', this.bridge]).catch(() => {});
  }
}

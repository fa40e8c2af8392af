// The fleet as it is known here: hosts and their containers, kept up by the stream. Rows are never changed but replaced,
// and `version` tells that some were: a view is made anew at most once a batch, and only rows that are others are drawn.
import { clockSkew, get, words, type Schemas } from '../api/client';
import { HEALTHS, RANK, known } from './health';
import { live, type Batch } from './live.svelte';

export type Host = Schemas['Host'];
export type Container = Schemas['Container'];

/** A host with what follows from its containers. */
export interface HostRow {
  readonly name: string;
  readonly host: Host | null;
  /** By name, in its order. Of a silent host what was last known. */
  readonly containers: Container[];
  /** How many containers there are of each health, in the order of `HEALTHS`. */
  readonly counts: number[];
  /** The greatest loss of a monitored container, percent; null where none is known. */
  readonly loss: number | null;
  /** CPU of all cores and memory of the machine, percent, and when (unix seconds); null until a sample came. */
  readonly load: Load | null;
  /** When it last spoke, milliseconds; null where it never did. */
  readonly heard: number | null;
  /** Name and addresses, small, to search in. */
  readonly words: string;
}

export interface Load {
  t: number;
  cpu: number | null;
  memory: number | null;
}

const blank = (name: string): HostRow => ({
  name,
  host: null,
  containers: [],
  counts: HEALTHS.map(() => 0),
  loss: null,
  load: null,
  heard: null,
  words: name.toLowerCase(),
});

/** For how long a host's figures are shown while none comes, seconds. */
const OLD = 120;

const byName = new Intl.Collator('en', { numeric: true }).compare;

class FleetState {
  /** Changes with anything below. */
  version = $state(0);
  /** Whether hosts, and containers, were read at least once. */
  hostsRead = $state(false);
  containersRead = $state(false);
  /** Why they could not be read; null while they could. */
  problem = $state<string | null>(null);

  readonly rows = new Map<string, HostRow>();
  /** Of the whole fleet. */
  readonly counts: number[] = HEALTHS.map(() => 0);
  #names: string[] | null = null;
  #early = new Map<string, Load>();
  /** Of whom the stream told since the lists were asked for: what they say is older. */
  readonly #toldHosts = new Set<string>();
  readonly #toldContainers = new Set<string>();
  #reading: Promise<void> | null = null;
  #again = false;

  /** All hosts by name. Read `version` first, or use `hosts`. */
  get sorted(): HostRow[] {
    this.#names ??= [...this.rows.keys()].sort(byName);
    return this.#names.flatMap((name) => this.rows.get(name) ?? []);
  }

  /** All hosts by name; changes with them. */
  get hosts(): HostRow[] {
    void this.version;
    return this.sorted;
  }

  /** One host; changes with it. */
  host(name: string): HostRow | undefined {
    void this.version;
    return this.rows.get(name);
  }

  /** One container; changes with it. */
  container(host: string, name: string): Container | undefined {
    return this.host(host)?.containers.find((container) => container.name === name);
  }

  take(batch: Batch): void {
    const forgotten = batch.events.filter((event) => event.kind === 'host_forgotten');
    if (batch.hosts.length + batch.containers.length + batch.ticks.length + forgotten.length === 0) return;
    // A host that tells something speaks; the controller says when it last did only as its state changes.
    const heard = Date.now() + clockSkew();
    for (const host of batch.hosts) {
      this.#takeHost(host);
      this.#toldHosts.add(host.hostname);
    }
    for (const { hostname, containers } of batch.containers) {
      this.#takeContainers(hostname, containers, heard);
      this.#toldContainers.add(hostname);
    }
    for (const event of forgotten) this.#drop(event.host);
    for (const tick of batch.ticks) {
      const { cpu_host_percent: cpu = null, memory_percent: memory = null } = tick.host;
      // A page that asks for other figures of its host takes none of these away.
      if (cpu === null && memory === null && tick.t - (this.rows.get(tick.hostname)?.load?.t ?? 0) < OLD) continue;
      const load = { t: tick.t, cpu, memory };
      const row = this.rows.get(tick.hostname);
      // The stream begins with samples: the hosts are read a moment later, and of a silent one they are what it told last.
      if (!row && !this.hostsRead) this.#early.set(tick.hostname, load);
      if (row && row.host?.presence !== 'silent') this.#change(tick.hostname, { load, heard });
    }
    this.version += 1;
  }

  /** Reads the hosts for the first time; what fails here is tried again by `read`. */
  async begin(): Promise<void> {
    const hosts = await get('/api/v1/hosts').catch(() => null);
    if (hosts && !this.hostsRead) this.#takeHosts(hosts);
  }

  /** Reads all anew; asked again meanwhile, it does so once more afterwards. */
  read(): Promise<void> {
    if (this.#reading) this.#again = true;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
      if (this.#again) {
        this.#again = false;
        void this.read();
      }
    });
    return this.#reading;
  }

  async #read(): Promise<void> {
    try {
      // The hosts come at once; the controller asks each of them for its containers.
      this.#toldHosts.clear();
      this.#toldContainers.clear();
      const containers = get('/api/v1/containers', { query: { stale: true } });
      containers.catch(() => {});
      this.#takeHosts(await get('/api/v1/hosts'));
      this.#takeAllContainers(await containers);
      this.problem = null;
    } catch (error) {
      this.problem = words(error);
    }
  }

  #takeHosts(hosts: Host[]): void {
    const names = new Set(hosts.map((host) => host.hostname));
    const told = (name: string) => this.#toldHosts.has(name) || this.#toldContainers.has(name);
    for (const name of [...this.rows.keys()]) if (!names.has(name) && !told(name)) this.#drop(name);
    for (const host of hosts) if (!this.#toldHosts.has(host.hostname)) this.#takeHost(host);
    this.hostsRead = true;
    this.#early.clear();
    this.version += 1;
  }

  #takeAllContainers(containers: Container[]): void {
    const of = new Map<string, Container[]>();
    for (const container of containers) {
      const list = of.get(container.hostname);
      if (list) list.push(container);
      else of.set(container.hostname, [container]);
    }
    for (const name of new Set([...this.rows.keys(), ...of.keys()])) {
      if (!this.#toldContainers.has(name)) this.#takeContainers(name, of.get(name) ?? []);
    }
    this.containersRead = true;
    this.version += 1;
  }

  #change(name: string, changes: Partial<HostRow>): HostRow {
    const before = this.rows.get(name);
    if (!before) this.#names = null;
    const row = { ...(before ?? { ...blank(name), load: this.#early.get(name) ?? null }), ...changes };
    this.rows.set(name, row);
    return row;
  }

  #takeHost(host: Host): void {
    const system = host.agent?.identity?.system_uuid ?? '';
    const words = [host.hostname, ...(host.agent?.addresses ?? []), system].join(' ').toLowerCase();
    // What a silent host used is not what it uses.
    const used = host.presence === 'silent' ? { load: null } : {};
    this.#change(host.hostname, { host, words, heard: Date.parse(host.last_seen), ...used });
  }

  #takeContainers(name: string, told: Container[], heard?: number): void {
    const before = this.rows.get(name);
    if (before) this.#count(before, -1);
    const counts = HEALTHS.map(() => 0);
    let loss: number | null = null;
    for (const container of told) {
      const rank = RANK[known(container.health)];
      counts[rank] = (counts[rank] ?? 0) + 1;
      const own = container.monitored ? (container.loss_percent ?? null) : null;
      if (own !== null && (loss === null || own > loss)) loss = own;
    }
    const containers = told.toSorted((a, b) => byName(a.name, b.name));
    const spoke = heard === undefined ? {} : { heard };
    this.#count(this.#change(name, { containers, counts, loss, ...spoke }), 1);
  }

  #count(row: HostRow, sign: 1 | -1): void {
    row.counts.forEach((count, rank) => (this.counts[rank] = (this.counts[rank] ?? 0) + sign * count));
  }

  #drop(name: string): void {
    const row = this.rows.get(name);
    if (!row) return;
    this.#count(row, -1);
    this.rows.delete(name);
    this.#names = null;
  }
}

export const fleet = new FleetState();
live.follow((batch) => fleet.take(batch));

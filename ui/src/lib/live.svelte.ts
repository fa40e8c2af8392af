// The one stream of the whole page: opened once, opened anew when a page wants other samples, and again after it was
// lost. What comes is told at most once a frame, and only the newest of each host: twenty thousand containers are no
// more work than what is seen of them.
import type { Schemas } from '../api/client';
import type { ApiError } from '../api/client';
import { session } from './session.svelte';
import { EventStream } from './stream';

export type Event = Schemas['Event'];
export type HostMetrics = Schemas['HostMetrics'];
export type DesiredNotice = Schemas['DesiredNotice'];

/** What a page wants of the samples. */
export interface Wanted {
  /** All hosts' own, or one host's with its containers, or one container's. */
  host?: string;
  container?: string;
  names: string[];
}

/** What came since the last time it was told. */
export interface Batch {
  hosts: Schemas['Host'][];
  containers: Schemas['HostContainers'][];
  desired: DesiredNotice[];
  pools: Schemas['HostPools'][];
  events: Event[];
  ticks: HostMetrics[];
}

export type Connection = 'connecting' | 'live' | 'lost';

/** The least time between two batches, milliseconds. */
const BEAT = 150;
/** How often what comes is told while nobody looks, milliseconds. */
const HIDDEN_BEAT = 2000;
/** The most events and samples that wait to be told; the rest is read anew. */
const MOST = 5000;
/** The least time between two readings of everything because the stream left something out, milliseconds. */
const CATCH_UP = 10_000;
/** After how long a page that nobody sees lets go of its connection, of which browsers grant each site few. */
const LET_GO = 120_000;
const BACKOFF = [500, 1000, 2000, 4000, 8000, 15_000];

class Live {
  state = $state<Connection>('connecting');
  /** Why it is lost, and since when. */
  problem = $state<string | null>(null);
  since = $state<number | null>(null);
  /** When it is tried again. */
  retryAt = $state<number | null>(null);
  /** Counts the times that something may have been missed: who reads lists or charts reads them anew then. */
  gaps = $state(0);

  #stream: EventStream | null = null;
  #next: EventStream | null = null;
  #lastId: string | null = null;
  #lastSeq = 0;
  #attempts = 0;
  #retry = 0;
  #lost = false;
  #leaving = 0;
  #catching = 0;
  #caughtUpAt = 0;
  #started = false;
  #wanted = new Set<Wanted>();
  #topics = '';
  #followers = new Set<(batch: Batch) => void>();

  #hosts = new Map<string, Schemas['Host']>();
  #containers = new Map<string, Schemas['HostContainers']>();
  #pools = new Map<string, Schemas['HostPools']>();
  #desired: DesiredNotice[] = [];
  #events: Event[] = [];
  #ticks: HostMetrics[] = [];
  #planned = false;
  #toldAt = 0;

  constructor() {
    addEventListener('online', () => this.retry());
    document.addEventListener('visibilitychange', () => this.#seen());
  }

  /** Begins to follow; the first `gaps` comes when the stream is open, so that nothing falls between it and the lists. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#open();
  }

  stop(): void {
    this.#started = false;
    clearTimeout(this.#retry);
    this.#close();
    this.state = 'connecting';
    this.#lost = false;
  }

  #seen(): void {
    clearTimeout(this.#leaving);
    if (document.hidden) {
      this.#leaving = window.setTimeout(() => {
        if (this.#started && this.state === 'live') this.#letGo();
      }, LET_GO);
    } else if (this.#started && this.state === 'connecting' && !this.#next) this.#open();
    else this.retry();
  }

  #letGo(): void {
    this.#close();
    this.state = 'connecting';
  }

  /** What was told and not yet taken up is older than the lists that are read when the next stream is open. */
  #close(): void {
    this.#stream?.close();
    this.#next?.close();
    this.#stream = this.#next = null;
    this.#hosts.clear();
    this.#containers.clear();
    this.#pools.clear();
  }

  /** The stream left something out: all is read anew, but not over and over where this page cannot keep up. */
  #missed(): void {
    if (this.#catching) return;
    const wait = Math.max(0, this.#caughtUpAt + CATCH_UP - Date.now());
    this.#catching = window.setTimeout(() => {
      this.#catching = 0;
      this.#caughtUpAt = Date.now();
      this.gaps += 1;
    }, wait);
  }

  /** Tells `follower` of every batch until the function that is given back is called. */
  follow(follower: (batch: Batch) => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Asks for samples until the function that is given back is called. */
  want(wanted: Wanted): () => void {
    this.#wanted.add(wanted);
    this.#replan();
    return () => {
      this.#wanted.delete(wanted);
      this.#replan();
    };
  }

  /** Tries again now. */
  retry(): void {
    if (!this.#started || this.state !== 'lost' || this.retryAt === null) return;
    clearTimeout(this.#retry);
    this.#open();
  }

  #query(): string {
    const usual = 'topics=events,containers,hosts,desired,pools';
    const all = [...this.#wanted];
    if (all.length === 0) return usual;
    const names = [...new Set(all.flatMap((wanted) => wanted.names))].sort();
    const query = new URLSearchParams({ metrics_names: names.join(',') });
    const [first] = all;
    const sameHost = all.every((wanted) => wanted.host === first?.host);
    const sameContainer = sameHost && all.every((wanted) => wanted.container === first?.container);
    if (all.every((wanted) => wanted.host === undefined)) query.set('metrics_of', 'hosts');
    if (sameHost && first?.host) query.set('metrics_host', first.host);
    if (sameContainer && first?.container) query.set('metrics_container', first.container);
    return `${usual},metrics&${query}`;
  }

  /** Pages come and go within one turn: what they want is looked at afterwards. */
  #replan(): void {
    if (!this.#started) return;
    queueMicrotask(() => {
      if (!this.#started || this.state === 'lost' || this.#query() === this.#topics) return;
      this.#open();
    });
  }

  #open(): void {
    this.#next?.close();
    this.retryAt = null;
    this.#topics = this.#query();
    const stream: EventStream = new EventStream(`/api/v1/stream?${this.#topics}`, this.#lastId, {
      opened: () => this.#opened(stream),
      message: (event, data, id) => this.#message(event, data, id),
      ended: (error) => this.#ended(stream, error),
    });
    this.#next = stream;
  }

  /** The stream before ends only now, so that nothing is missed between the two; events told twice are known by `seq`. */
  #opened(stream: EventStream): void {
    if (stream !== this.#next) return;
    const fresh = this.#stream === null;
    this.#stream?.close();
    this.#stream = stream;
    this.#next = null;
    this.#attempts = 0;
    this.#lost = false;
    this.state = 'live';
    this.problem = null;
    this.since = null;
    if (fresh) this.gaps += 1;
  }

  #ended(stream: EventStream, error: ApiError): void {
    if (stream === this.#next) this.#next = null;
    else if (stream === this.#stream) this.#stream = null;
    else return;
    // The one before still runs when its successor failed; then both are begun anew.
    this.#close();
    if (!this.#lost) this.since = Date.now();
    this.#lost = true;
    this.state = 'lost';
    this.problem = error.message;
    if (error.status === 401) void session.load();
    const wait = BACKOFF[Math.min(this.#attempts, BACKOFF.length - 1)] ?? 15_000;
    this.#attempts += 1;
    this.retryAt = Date.now() + wait;
    clearTimeout(this.#retry);
    this.#retry = window.setTimeout(() => this.#open(), wait);
  }

  #message(event: string, data: string, id: string | null): void {
    let body: unknown;
    try {
      body = JSON.parse(data);
    } catch {
      return;
    }
    switch (event) {
      case 'event': {
        const told = body as Event;
        if (id !== null) this.#lastId = id;
        // One of a history that began anew counts too.
        const seq = told.seq ?? 0;
        if (seq <= this.#lastSeq && this.#lastSeq - seq < MOST) return;
        this.#lastSeq = seq;
        this.#events.push(told);
        break;
      }
      case 'containers': {
        const told = body as Schemas['HostContainers'];
        this.#containers.set(told.hostname, told);
        break;
      }
      case 'host': {
        const told = body as Schemas['Host'];
        this.#hosts.set(told.hostname, told);
        break;
      }
      case 'pools': {
        const told = body as Schemas['HostPools'];
        this.#pools.set(told.hostname, told);
        break;
      }
      case 'desired':
        this.#desired.push(body as DesiredNotice);
        break;
      case 'metrics':
        this.#ticks.push(body as HostMetrics);
        break;
      case 'lagged':
        this.#missed();
        return;
      default:
        return;
    }
    if (this.#events.length + this.#ticks.length + this.#desired.length > MOST) {
      this.#events.splice(0, this.#events.length - 100);
      this.#ticks.splice(0, this.#ticks.length - 100);
      this.#desired.splice(0, this.#desired.length - 100);
      this.#missed();
    }
    this.#plan();
  }

  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    const wait = Math.max(0, this.#toldAt + (document.hidden ? HIDDEN_BEAT : BEAT) - Date.now());
    setTimeout(() => {
      // No frame comes to a page that is not seen.
      if (document.hidden) this.#tell();
      else requestAnimationFrame(() => this.#tell());
    }, wait);
  }

  #tell(): void {
    this.#planned = false;
    this.#toldAt = Date.now();
    const batch: Batch = {
      hosts: [...this.#hosts.values()],
      containers: [...this.#containers.values()],
      desired: this.#desired,
      pools: [...this.#pools.values()],
      events: this.#events,
      ticks: this.#ticks,
    };
    this.#hosts.clear();
    this.#containers.clear();
    this.#pools.clear();
    this.#desired = [];
    this.#events = [];
    this.#ticks = [];
    for (const follower of this.#followers) {
      try {
        follower(batch);
      } catch (error) {
        // One that breaks takes nothing from the others.
        reportError(error);
      }
    }
  }
}

export const live = new Live();

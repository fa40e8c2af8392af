// A stretch of the history, the newest first: read backwards as it is scrolled, kept up by the stream at its end.
import { aborted, get, words } from '../api/client';
import type { Event } from './events';
import { groupOf, kindsOf, type GroupName } from './history';
import { live } from './live.svelte';

export interface Filter {
  groups: GroupName[];
  host: string;
  container: string;
}

/** How many are read at once. */
const PAGE = 100;
/** The most that the interface gives at once. */
const FAR = 1000;
/** How often so many are gone through for one that is known by its id alone. */
const TRIES = 10;
/** The most that are held; beyond, the history is gone on with from there. */
export const MOST = 4000;

/** Made while a component begins, and ended with it. */
export class Timeline {
  events = $state.raw<Event[]>([]);
  /** Whether the first were read. */
  begun = $state(false);
  busy = $state(false);
  /** Whether there are older, and newer ones that are not here. */
  older = $state(true);
  newer = $state(false);
  problem = $state<string | null>(null);
  #abort = new AbortController();
  #waiting: Event[] = [];
  readonly #filter: () => Filter;

  constructor(filter: () => Filter) {
    this.#filter = filter;
    $effect(() => live.follow((batch) => this.#take(batch.events)));
    $effect(() => () => this.#abort.abort());
  }

  get full(): boolean {
    return this.events.length >= MOST;
  }

  has(seq: number): boolean {
    return this.events.some((event) => event.seq === seq);
  }

  #query() {
    const { groups, host, container } = this.#filter();
    return { kind: groups.length > 0 ? kindsOf(groups).join(',') : '', host, container };
  }

  #fits(event: Event): boolean {
    const { groups, host, container } = this.#filter();
    return (
      (groups.length === 0 || groups.includes(groupOf(event.kind))) &&
      (host === '' || event.host === host) &&
      (container === '' || event.container === container)
    );
  }

  /** Runs `work` alone: what was under way is given up. */
  async #alone(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#abort.abort();
    const abort = (this.#abort = new AbortController());
    this.busy = true;
    this.#waiting = [];
    try {
      await work(abort.signal);
      if (abort.signal.aborted) return;
      this.problem = null;
      this.#prepend(this.#waiting);
    } catch (error) {
      if (aborted(error) || abort.signal.aborted) return;
      this.problem = words(error);
    }
    this.busy = false;
  }

  /** Reads anew: the newest, or what is around `seq`. */
  begin(seq: number | null): Promise<void> {
    return this.#alone(async (signal) => {
      const query = { ...this.#query(), limit: PAGE };
      const [before, after] = await Promise.all([
        get('/api/v1/events', { query: seq === null ? query : { ...query, before: seq + 1 }, signal }),
        seq === null ? [] : get('/api/v1/events', { query: { ...query, after: seq }, signal }),
      ]);
      if (signal.aborted) return;
      this.events = [...before, ...after].reverse();
      this.older = before.length === PAGE;
      this.newer = after.length === PAGE;
      this.begun = true;
    });
  }

  /** The place of an event that is known by its id; null where it is not kept. */
  async find(id: string): Promise<number | null> {
    let before: number | null = null;
    for (let tries = 0; tries < TRIES; tries += 1) {
      const { host, container } = this.#filter();
      const page: Event[] = await get('/api/v1/events', { query: { host, container, limit: FAR, ...(before === null ? {} : { before }) } });
      const found = page.find((event) => event.id === id);
      if (found) return found.seq ?? null;
      if (page.length < FAR) return null;
      before = page[0]?.seq ?? 0;
    }
    return null;
  }

  async more(): Promise<void> {
    const oldest = this.events.at(-1)?.seq;
    if (this.busy || !this.older || this.full || oldest === undefined) return;
    await this.#alone(async (signal) => {
      const page = await get('/api/v1/events', { query: { ...this.#query(), limit: PAGE, before: oldest }, signal });
      if (signal.aborted) return;
      this.events = [...this.events, ...page.reverse()];
      this.older = page.length === PAGE;
    });
  }

  /** What came after the newest that is here; after a gap in the stream, all of it. */
  async later(all = false): Promise<void> {
    const newest = this.events[0]?.seq;
    if (newest === undefined) return this.begin(null);
    const limit = all ? FAR : PAGE;
    let page: Event[] = [];
    await this.#alone(async (signal) => {
      page = await get('/api/v1/events', { query: { ...this.#query(), limit, after: newest }, signal });
      if (signal.aborted) return;
      this.newer = page.length === limit;
      this.#prepend(page, true);
    });
  }

  #take(events: Event[]): void {
    const own = events.filter((event) => this.#fits(event));
    if (own.length === 0) return;
    if (this.busy) this.#waiting = [...this.#waiting, ...own].slice(-FAR);
    else this.#prepend(own);
  }

  #prepend(events: Event[], read = false): void {
    // Those between would be missing.
    if (this.newer && !read) return;
    const newest = this.events[0]?.seq ?? 0;
    const fresh = events.filter((event) => (event.seq ?? 0) > newest).sort((a, b) => (b.seq ?? 0) - (a.seq ?? 0));
    if (fresh.length === 0) return;
    this.events = [...fresh, ...this.events].slice(0, 2 * MOST);
  }
}

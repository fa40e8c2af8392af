// The controller's own state: what it cannot do now, the freezes, the threshold, and the open incidents.
import { get, words, type Schemas } from '../api/client';
import { live, type Batch } from './live.svelte';

/** How often the controller is asked whether it works, milliseconds. */
const PERIOD = 30_000;
/** How long further events are awaited before incidents are read anew, milliseconds. */
const SETTLE = 700;
/** The most open incidents that are read. */
const LIMIT = 1000;

class SystemState {
  readiness = $state.raw<Schemas['Readiness'] | null>(null);
  freezes = $state.raw<Schemas['FreezeEntry'][]>([]);
  threshold = $state<number | null>(null);
  incidents = $state.raw<Schemas['Incident'][]>([]);
  /** Why one of these could not be read; null while they could. */
  problem = $state<string | null>(null);
  #timer = 0;
  #settling = 0;

  /** The freeze of every host; null when there is none. */
  get frozen(): Schemas['FreezeEntry'] | null {
    return this.freezes.find((freeze) => freeze.hostname === null || freeze.hostname === undefined) ?? null;
  }

  start(): void {
    clearInterval(this.#timer);
    this.#timer = window.setInterval(() => {
      if (!document.hidden) void this.#ready();
    }, PERIOD);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async read(): Promise<void> {
    await Promise.all([this.#ready(), this.#rest()]);
  }

  async #ready(): Promise<void> {
    try {
      // It says what is missing with status 503.
      const response = await fetch('/readyz', { credentials: 'same-origin', cache: 'no-store' });
      this.readiness = (await response.json()) as Schemas['Readiness'];
    } catch {
      // The stream tells of a controller that does not answer.
    }
  }

  async #rest(): Promise<void> {
    try {
      const [freezes, threshold, incidents] = await Promise.all([
        get('/api/v1/freeze'),
        get('/api/v1/threshold'),
        get('/api/v1/incidents', { query: { open: true, limit: LIMIT } }),
      ]);
      this.freezes = freezes;
      this.threshold = threshold;
      this.incidents = incidents;
      this.problem = null;
    } catch (error) {
      this.problem = words(error);
    }
  }

  take(batch: Batch): void {
    for (const notice of batch.desired) {
      if (notice.key === 'threshold') this.threshold = notice.threshold ?? this.threshold;
      if (notice.key === 'freeze') this.#takeFreeze(notice.hostname ?? null, notice.freeze ?? null);
    }
    if (batch.events.length === 0 || this.#settling) return;
    this.#settling = window.setTimeout(() => {
      this.#settling = 0;
      void this.#rest();
    }, SETTLE);
  }

  #takeFreeze(hostname: string | null, freeze: Schemas['Freeze'] | null): void {
    const others = this.freezes.filter((other) => (other.hostname ?? null) !== hostname);
    this.freezes = freeze ? [...others, { hostname, ...freeze }] : others;
  }
}

export const system = new SystemState();
live.follow((batch) => system.take(batch));

// Metrics over time of one container or host: read from the history, then kept up by the stream.
import { aborted, clockSkew, get, words, type Schemas } from '../api/client';
import { live, type Batch } from './live.svelte';
import { rangeOf, type View } from './ranges';

export interface Subject {
  host: string;
  container?: string;
}

/** What is wanted; without a subject, nothing. */
export interface Asked {
  subject: Subject | null;
  names: string[];
  view: View;
}

type Values = Record<string, (number | null)[]>;

export interface SeriesData {
  /** Unix seconds. */
  t: number[];
  series: Values;
  step: number;
}

/** How often the span moves on while no sample comes, milliseconds. */
const MOVES = 5000;
/** The least time between two readings of the history, milliseconds. */
const LEAST = 15_000;
/** The least of the last hour that is shown, seconds. */
const SHORTEST = 600;
/** The most points that are kept. */
const MOST = 11_000;

const nowSeconds = () => Math.floor((Date.now() + clockSkew()) / 1000);

/**
 * Made while a component begins, and ended with it. `ask` says what is wanted; it is read anew when that changes, when the
 * stream missed something, and, where a point is many samples, as points come.
 */
export class Series {
  data = $state.raw<SeriesData | null>(null);
  loading = $state(true);
  problem = $state<string | null>(null);
  #now = $state(nowSeconds());
  readonly #ask: () => Asked;

  readonly #asked = $derived.by(() => this.#ask());
  /** What charts show, unix seconds. */
  readonly range = $derived<[number, number]>(this.#shown());
  // As text, so that what is the same again is not read again.
  readonly #key = $derived(JSON.stringify(this.#asked));
  readonly #live = $derived(this.#asked.view.zoom === null && this.#asked.view.span === '1h');

  constructor(ask: () => Asked) {
    this.#ask = ask;
    $effect(() => {
      void [this.#key, live.gaps];
      return this.#follow();
    });
    $effect(() => {
      const { subject, names } = JSON.parse(this.#key) as Asked;
      if (!subject || !this.#live || names.length === 0) return;
      return live.want({ host: subject.host, ...(subject.container ? { container: subject.container } : {}), names });
    });
    $effect(() => live.follow((batch) => this.#take(batch)));
    $effect(() => {
      const timer = setInterval(() => {
        if (!document.hidden) this.#now = Math.max(this.#now, nowSeconds());
      }, MOVES);
      return () => clearInterval(timer);
    });
  }

  /** Of the last hour as much as there is, and ten minutes at least: what just began is not to be a line at the edge. */
  #shown(): [number, number] {
    const [from, to] = rangeOf(this.#asked.view, this.#now);
    if (!this.#live || !this.data) return [from, to];
    const columns = Object.values(this.data.series);
    const first = this.data.t.findIndex((_, index) => columns.some((values) => values[index] !== null && values[index] !== undefined));
    return [Math.max(from, Math.min(this.data.t[first] ?? from, to - SHORTEST)), to];
  }

  #follow(): () => void {
    const abort = new AbortController();
    const { subject, names, view } = JSON.parse(this.#key) as Asked;
    let timer = 0;
    const read = async () => {
      try {
        await this.#read(subject, names, view, abort.signal);
      } finally {
        if (!abort.signal.aborted && view.zoom === null && view.span !== '1h') {
          const step = (this.data?.step ?? 60) * 1000;
          timer = window.setTimeout(read, Math.max(LEAST, Math.min(step, 300_000)));
        }
      }
    };
    void read();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }

  async #read(subject: Subject | null, names: string[], view: View, signal: AbortSignal): Promise<void> {
    if (!subject || names.length === 0) {
      this.data = null;
      this.loading = false;
      return;
    }
    this.loading = true;
    const [from, to] = rangeOf(view, nowSeconds());
    const query = { names: names.join(','), from: String(Math.floor(from)), to: String(Math.ceil(to)) };
    try {
      const page: Schemas['SeriesPage'] = subject.container
        ? await get('/api/v1/containers/{hostname}/{containerName}/metrics', {
            path: { hostname: subject.host, containerName: subject.container },
            query,
            signal,
          })
        : await get('/api/v1/hosts/{hostname}/metrics', { path: { hostname: subject.host }, query, signal });
      this.data = { t: page.t, step: page.step, series: page.series as Values };
      this.#now = Math.max(this.#now, nowSeconds());
      this.problem = null;
    } catch (error) {
      if (aborted(error)) return;
      this.problem = words(error);
    }
    this.loading = false;
  }

  #take(batch: Batch): void {
    const { subject, names } = this.#asked;
    if (!subject || !this.#live || !this.data) return;
    let data = this.data;
    for (const tick of batch.ticks) {
      if (tick.hostname !== subject.host || tick.t <= (data.t.at(-1) ?? 0)) continue;
      const values = subject.container ? tick.containers[subject.container] : tick.host;
      data = appended(data, tick.t, values ?? {}, names);
    }
    if (data === this.data) return;
    this.data = data;
    this.#now = Math.max(nowSeconds(), data.t.at(-1) ?? 0);
  }
}

/** With one moment more, and without what is older than an hour. */
function appended(data: SeriesData, t: number, values: Record<string, number>, names: string[]): SeriesData {
  const oldest = t - 3660;
  let drop = Math.max(0, data.t.length + 1 - MOST);
  while (drop < data.t.length && (data.t[drop] ?? 0) < oldest) drop += 1;
  const wanted = (series: string) => names.includes(series.split('/', 1)[0] ?? series);
  const all = new Set([...Object.keys(data.series), ...Object.keys(values).filter(wanted)]);
  const series: Values = {};
  for (const name of all) {
    const before = data.series[name] ?? Array<number | null>(data.t.length).fill(null);
    series[name] = [...before.slice(drop), values[name] ?? null];
  }
  return { t: [...data.t.slice(drop), t], series, step: data.step };
}

// What of the fleet fits a search and a filter, in which order. Plain functions over plain data: twenty thousand
// containers take some milliseconds.
import type { Container, HostRow } from './fleet.svelte';
import { HEALTHS, known, RANK, type Health } from './health';
import { wordOf } from './hosts';

export type View = 'cards' | 'hosts' | 'containers';

const compareText = new Intl.Collator('en', { numeric: true }).compare;

/** Numbers by size; what is unknown comes last either way. */
function byNumber<T>(value: (row: T) => number | null): (a: T, b: T, down: boolean) => number {
  return (a, b, down) => {
    const [left, right] = [value(a), value(b)];
    if (left === null || right === null) return left === right ? 0 : left === null ? 1 : -1;
    return down ? right - left : left - right;
  };
}

type Compare<T> = (a: T, b: T, down: boolean) => number;

const turned = (order: number, down: boolean) => (down ? -order : order);

const HOST: Record<string, Compare<HostRow>> = {
  name: (a, b, down) => turned(compareText(a.name, b.name), down),
  // The worst first, unless turned.
  state: (a, b, down) => turned(wordOf(b).rank - wordOf(a).rank, down),
  containers: byNumber((row) => row.containers.length || (row.host?.agent?.containers ?? 0)),
  cpu: byNumber((row) => row.load?.cpu ?? null),
  memory: byNumber((row) => row.load?.memory ?? null),
  loss: byNumber((row) => row.loss),
  seen: (a, b, down) => turned((b.heard ?? 0) - (a.heard ?? 0), down),
};

const CONTAINER: Record<string, Compare<Container>> = {
  name: (a, b, down) => turned(compareText(a.name, b.name), down),
  status: (a, b, down) => turned(compareText(a.status, b.status), down),
  loss: byNumber((row) => row.loss_percent ?? null),
  rtt: byNumber((row) => row.rtt_ms ?? null),
  restarts: byNumber((row) => row.restarts ?? null),
};

export const COMPARE = {
  host: (by: string): Compare<HostRow> => HOST[by] ?? (HOST.name as Compare<HostRow>),
};

/** Containers by a column; health and host are orders of their own. */
export const COMPARE_CONTAINERS = (by: string): Compare<Container> => CONTAINER[by] ?? (CONTAINER.name as Compare<Container>);

/** Small words that must all be found. */
function wordsOf(text: string): string[] {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function containerFits(container: Container, words: string[], host: string): boolean {
  return words.every(
    (word) =>
      container.name.toLowerCase().includes(word) ||
      host.includes(word) ||
      container.image.toLowerCase().includes(word) ||
      container.addresses.some((address) => address.includes(word)) ||
      (container.project?.toLowerCase().includes(word) ?? false) ||
      (container.service?.toLowerCase().includes(word) ?? false),
  );
}

/** Hosts that fit by themselves or by one of their containers. */
export function findHosts(rows: readonly HostRow[], text: string, healths: ReadonlySet<Health>, compare: Compare<HostRow>, down: boolean): HostRow[] {
  const words = wordsOf(text);
  const ranks = [...healths].map((health) => RANK[health]);
  const found = rows.filter((row) => {
    if (ranks.length > 0 && !ranks.some((rank) => (row.counts[rank] ?? 0) > 0)) return false;
    if (words.length === 0 || words.every((word) => row.words.includes(word))) return true;
    return row.containers.some((container) => containerFits(container, words, row.words));
  });
  return found.sort((a, b) => compare(a, b, down));
}

/** Containers that fit. Rows come by host and name, so that only other orders are work. */
export function findContainers(rows: readonly HostRow[], text: string, healths: ReadonlySet<Health>, by: string, down: boolean): Container[] {
  const words = wordsOf(text);
  const all: Container[] = [];
  const buckets: Container[][] | null = by === 'health' ? HEALTHS.map(() => []) : null;
  for (const row of rows) {
    for (const container of row.containers) {
      const health = known(container.health);
      if (healths.size > 0 && !healths.has(health)) continue;
      if (words.length > 0 && !containerFits(container, words, row.words)) continue;
      if (buckets) buckets[RANK[health]]?.push(container);
      else all.push(container);
    }
  }
  if (buckets) return (down ? buckets.reverse() : buckets).flat();
  if (by === 'host') return down ? all.reverse() : all;
  const compare = COMPARE_CONTAINERS(by);
  return all.sort((a, b) => compare(a, b, down));
}

/** How many containers there are of each health; changes with the fleet. */
export function countsOf(fleet: { version: number; counts: number[] }): number[] {
  void fleet.version;
  return [...fleet.counts];
}

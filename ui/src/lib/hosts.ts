// How a host is, in one word and one sentence.
import type { Schemas } from '../api/client';
import type { HostRow } from './fleet.svelte';
import { HEALTHS, isBad, RANK, type Tone } from './health';

export type HostState = 'conflict' | 'silent' | 'engine' | 'failing' | 'frozen' | 'limited' | 'recovering' | 'degraded' | 'well' | 'unknown';

export interface HostWord {
  state: HostState;
  word: string;
  tone: Tone;
  /** Greater is worse. */
  rank: number;
  /** Why, where the word does not say it all. */
  detail?: string;
}

const WORDS: Record<HostState, HostWord> = {
  conflict: { state: 'conflict', word: 'identity conflict', tone: 'bad', rank: 9 },
  silent: { state: 'silent', word: 'silent', tone: 'bad', rank: 8 },
  engine: { state: 'engine', word: 'engine unreachable', tone: 'bad', rank: 7 },
  failing: { state: 'failing', word: 'failing', tone: 'bad', rank: 6 },
  frozen: { state: 'frozen', word: 'frozen', tone: 'ice', rank: 5 },
  limited: { state: 'limited', word: 'cannot ping', tone: 'warn', rank: 4 },
  recovering: { state: 'recovering', word: 'recovering', tone: 'info', rank: 3 },
  degraded: { state: 'degraded', word: 'degraded', tone: 'warn', rank: 2 },
  unknown: { state: 'unknown', word: 'unknown', tone: 'quiet', rank: 1 },
  well: { state: 'well', word: 'healthy', tone: 'good', rank: 0 },
};

/** What its agent says that it cannot do. */
export function lacks(host: Schemas['Host'] | null, capability: string): Schemas['Capability'] | null {
  return host?.agent?.capabilities.find((one) => one.name === capability && !one.works) ?? null;
}

/** How a host is: what hinders most comes first. */
export function wordOf(row: HostRow): HostWord {
  const { host, counts } = row;
  if (!host) return WORDS.unknown;
  if (host.conflict) return { ...WORDS.conflict, detail: host.conflict };
  if (host.presence === 'silent') return { ...WORDS.silent, detail: 'Its agent, the machine or the network between is down' };
  const engine = host.agent?.engine;
  if (engine?.status === 'unreachable') return { ...WORDS.engine, detail: engine.error ?? 'Docker does not answer its agent' };
  const bad = HEALTHS.some((health, rank) => isBad(health) && (counts[rank] ?? 0) > 0) || (counts.every((count) => count === 0) && (host.agent?.failing ?? 0) > 0);
  if (bad) return WORDS.failing;
  if (host.agent?.freeze) return { ...WORDS.frozen, detail: 'Nothing is started or restarted there now' };
  const deaf = lacks(host, 'icmp');
  if (deaf) return { ...WORDS.limited, detail: deaf.detail };
  if ((counts[RANK.recovering] ?? 0) > 0) return WORDS.recovering;
  if ((counts[RANK.degraded] ?? 0) > 0) return WORDS.degraded;
  return host.agent ? WORDS.well : WORDS.unknown;
}

// How events are told apart and told together: groups of kinds to filter by, and many events of one host as one line.
import type { Event, EventKind } from './events';
import { eventWord } from './events';
import type { Tone } from './health';
import { plural } from './format';

export const GROUPS = { health: 'Health', healing: 'Healing', hosts: 'Hosts', changes: 'Changes', drills: 'Drills', upkeep: 'Upkeep' } as const;
export type GroupName = keyof typeof GROUPS;

/** What each group is of, for those who ask. */
export const GROUP_HELP: Readonly<Record<GroupName, string>> = {
  health: 'Containers that fail, recover, are left down or removed',
  healing: 'What dockhealth did or held back: starts, restarts, quarantine, breakers',
  hosts: 'Hosts, engines and agents that come and go, their names and clocks',
  changes: 'What people set: monitoring, thresholds, freezes, maintenance, tokens',
  drills: 'Drills that begin and end, and what the antagonist does on purpose',
  upkeep: 'What was dropped, and whether notifications get through',
};

/** Every kind has its group: one more in the interface's description fails the build here. */
const GROUP_OF: Readonly<Record<EventKind, GroupName>> = {
  agent_started: 'hosts',
  agent_stopped: 'hosts',
  engine_unreachable: 'hosts',
  engine_reachable: 'hosts',
  container_failing: 'health',
  container_recovered: 'health',
  container_left: 'health',
  container_removed: 'health',
  container_started: 'healing',
  container_restarted: 'healing',
  container_recreated: 'healing',
  action_failed: 'healing',
  action_assessed: 'healing',
  healing_futile: 'healing',
  action_interrupted: 'healing',
  would_act: 'healing',
  quarantined: 'healing',
  released: 'healing',
  breaker_opened: 'healing',
  breaker_closed: 'healing',
  frozen: 'changes',
  unfrozen: 'changes',
  monitored: 'changes',
  unmonitored: 'changes',
  threshold_changed: 'changes',
  rules_changed: 'changes',
  maintenance_changed: 'changes',
  host_live: 'hosts',
  host_silent: 'hosts',
  host_forgotten: 'hosts',
  identity_conflict: 'hosts',
  identity_resolved: 'hosts',
  token_changed: 'changes',
  events_dropped: 'upkeep',
  samples_dropped: 'upkeep',
  clock_skewed: 'hosts',
  clock_agrees: 'hosts',
  notify_failing: 'upkeep',
  notify_works: 'upkeep',
  drill_started: 'drills',
  drill_ended: 'drills',
  pool_set: 'changes',
  pool_removed: 'changes',
  pool_started: 'health',
  pool_ended: 'health',
  pool_degraded: 'health',
  pool_recovered: 'health',
  fault_injected: 'drills',
  fault_ended: 'drills',
  other: 'upkeep',
};

export const groupOf = (kind: string): GroupName => GROUP_OF[kind as EventKind] ?? 'upkeep';

/** The kinds of some groups, as the interface takes them. */
export function kindsOf(groups: readonly GroupName[]): EventKind[] {
  return (Object.keys(GROUP_OF) as EventKind[]).filter((kind) => groups.includes(GROUP_OF[kind]));
}

/** Events of one host that follow closely upon each other, the newest first. */
export interface Burst {
  key: string;
  events: Event[];
}

/** No longer between two events of one burst, milliseconds. */
const GAP = 60_000;
/** Bursts end with each such span of the clock, so that a host that never rests is more than one line, milliseconds. */
const SLOT = 600_000;
/** Fewer are lines of their own. */
const LEAST = 5;

/** Bursts and single events in the order of `events`, which are the newest first. */
export function bursts(events: readonly Event[]): Burst[] {
  const open = new Map<string, { events: Event[]; oldest: number; first: number }>();
  const all: { events: Event[]; first: number }[] = [];
  events.forEach((event, index) => {
    const time = Date.parse(event.time);
    const before = open.get(event.host);
    if (before && before.oldest - time <= GAP && Math.floor(before.oldest / SLOT) === Math.floor(time / SLOT)) {
      before.events.push(event);
      before.oldest = time;
    } else {
      const burst = { events: [event], oldest: time, first: index };
      open.set(event.host, burst);
      all.push(burst);
    }
  });
  const place = new Map(events.map((event, index) => [event, index]));
  return all
    .flatMap(({ events: own, first }) =>
      own.length >= LEAST ? [{ events: own, first }] : own.map((event) => ({ events: [event], first: place.get(event) ?? first })),
    )
    .sort((a, b) => a.first - b.first)
    .map(({ events: own }) => ({ key: own.at(-1)?.id ?? '', events: own }));
}

const WORST: readonly Tone[] = ['bad', 'held', 'warn', 'ice', 'info', 'good', 'quiet'];

export function worst(tones: Iterable<Tone>): Tone {
  const all = new Set(tones);
  return WORST.find((tone) => all.has(tone)) ?? 'quiet';
}

/** `3 failing, 2 restarted`: the gravest first. */
export function summary(events: readonly Event[]): string {
  const counts = new Map<string, number>();
  for (const { kind } of events) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts]
    .map(([kind, number]) => ({ ...eventWord(kind), number }))
    .sort((a, b) => WORST.indexOf(a.tone) - WORST.indexOf(b.tone) || b.number - a.number)
    .map(({ label, number }) => `${number}\u00a0${label}`)
    .join(', ');
}

/** Whom a burst is about. */
export function containersOf(events: readonly Event[]): string[] {
  return [...new Set(events.flatMap((event) => event.container ?? []))];
}

export function subjects(events: readonly Event[]): string {
  const names = containersOf(events);
  return names.length <= 2 ? names.join(', ') : plural(names.length, 'container');
}

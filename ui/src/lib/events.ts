// The words for what happens: their names, colours, and which of them are marked on charts.
import type { Schemas } from '../api/client';
import type { IconName } from '../components/Icon.svelte';
import type { Tone } from './health';
import type { Mark } from './plot';
import { plain } from './format';

export type EventKind = Schemas['EventKind'];
export type Event = Schemas['Event'];

export interface EventWord {
  label: string;
  tone: Tone;
  icon: IconName;
  /** Whether charts mark it. */
  marked: boolean;
}

const word = (label: string, tone: Tone, icon: IconName, marked = false): EventWord => ({ label, tone, icon, marked });

/** Every kind there is: one more in the interface's description fails the build here. */
export const EVENTS: Readonly<Record<EventKind, EventWord>> = {
  agent_started: word('agent started', 'info', 'play'),
  agent_stopped: word('agent stopped', 'quiet', 'pause'),
  engine_unreachable: word('engine unreachable', 'bad', 'alert', true),
  engine_reachable: word('engine reachable', 'good', 'check', true),
  container_failing: word('failing', 'bad', 'alert', true),
  container_recovered: word('recovered', 'good', 'check', true),
  container_left: word('left down', 'quiet', 'pause', true),
  container_removed: word('removed', 'quiet', 'close'),
  container_started: word('started', 'info', 'play', true),
  container_restarted: word('restarted', 'info', 'restart', true),
  container_recreated: word('recreated', 'info', 'restart', true),
  action_failed: word('action failed', 'bad', 'alert', true),
  action_assessed: word('action assessed', 'quiet', 'gauge'),
  healing_futile: word('healing futile', 'held', 'alert', true),
  action_interrupted: word('action interrupted', 'warn', 'alert', true),
  would_act: word('would act', 'info', 'eye'),
  quarantined: word('quarantined', 'held', 'lock', true),
  released: word('released', 'info', 'release', true),
  breaker_opened: word('breaker opened', 'warn', 'bolt', true),
  breaker_closed: word('breaker closed', 'good', 'bolt', true),
  frozen: word('healing frozen', 'ice', 'snow', true),
  unfrozen: word('healing goes on', 'info', 'snow', true),
  monitored: word('monitored', 'info', 'eye'),
  unmonitored: word('unmonitored', 'quiet', 'eye'),
  threshold_changed: word('threshold changed', 'info', 'settings'),
  rules_changed: word('network rules changed', 'info', 'network'),
  maintenance_changed: word('maintenance changed', 'info', 'wrench', true),
  host_live: word('host live', 'good', 'host', true),
  host_silent: word('host silent', 'bad', 'host', true),
  host_forgotten: word('host forgotten', 'quiet', 'close'),
  identity_conflict: word('identity conflict', 'bad', 'alert'),
  identity_resolved: word('identity resolved', 'good', 'check'),
  token_changed: word('token changed', 'info', 'user'),
  events_dropped: word('events dropped', 'warn', 'alert'),
  samples_dropped: word('samples dropped', 'warn', 'alert'),
  clock_skewed: word('clock skewed', 'warn', 'alert'),
  clock_agrees: word('clock agrees', 'good', 'check'),
  notify_failing: word('notifications fail', 'warn', 'alert'),
  notify_works: word('notifications work', 'good', 'check'),
  drill_started: word('drill began', 'held', 'drills', true),
  drill_ended: word('drill ended', 'held', 'drills', true),
  pool_set: word('pool set', 'info', 'settings'),
  pool_removed: word('pool removed', 'quiet', 'close'),
  pool_started: word('pool began', 'info', 'play', true),
  pool_ended: word('pool ended', 'quiet', 'pause', true),
  pool_degraded: word('pool ails', 'bad', 'alert', true),
  pool_recovered: word('pool recovered', 'good', 'check', true),
  fault_injected: word('fault injected', 'held', 'bolt', true),
  fault_ended: word('fault ended', 'quiet', 'bolt', true),
  other: word('other', 'quiet', 'info'),
};

/** The words of a kind; a controller newer than this page may tell of others. */
export function eventWord(kind: string): EventWord {
  return Object.hasOwn(EVENTS, kind) ? EVENTS[kind as EventKind] : word(plain(kind), 'quiet', 'info');
}

/** What charts mark of events: those of a container, and those of its whole host. */
export function marksOf(events: readonly Event[]): Mark[] {
  const marks: Mark[] = [];
  for (const event of events) {
    const { label, tone, marked } = eventWord(event.kind);
    if (marked) marks.push({ t: Date.parse(event.time) / 1000, label: event.reason || label, tone });
  }
  return marks;
}

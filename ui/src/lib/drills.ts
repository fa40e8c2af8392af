// Drills and their reports, as `GET /api/v1/drills` tells them.
import { ask } from '../api/client';
import type { EventKind } from './events';
import { millis, span } from './format';
import type { Tone } from './health';

export interface Spread {
  count: number;
  p50_ms: number;
  p95_ms: number;
  max_ms: number;
}

export interface DrillSummary {
  injected: number;
  detected: number;
  missed: number;
  unexpected: number;
  false_alarms: number;
  detect: Spread | null;
  act: Spread | null;
  recover: Spread | null;
}

export type DrillState = 'running' | 'passed' | 'failed' | 'lost' | 'unknown';

export interface Drill {
  id: string;
  hostname: string;
  scenario: string;
  seed: number;
  state: DrillState;
  started: string;
  ended: string | null;
  containers: number;
  summary: DrillSummary | null;
}

export type FaultWanted = 'found' | 'healed' | 'untouched' | 'quarantined' | 'shared' | 'nothing';
export type FaultOutcome = 'as_expected' | 'missed' | 'late' | 'wrong' | 'not_judged';

export interface DrillFault {
  container: string;
  fault: string;
  kind: string;
  phase: string;
  injected: string;
  over: string | null;
  wanted: FaultWanted;
  within_ms: number | null;
  outcome: FaultOutcome;
  detect_ms: number | null;
  act_ms: number | null;
  recover_ms: number | null;
  quarantine_ms: number | null;
  action: EventKind | null;
  actions: number;
}

export interface DrillReport {
  id: string;
  hostname: string;
  scenario: string;
  about: string;
  seed: number;
  version: string;
  started: string;
  ended: string;
  containers: number;
  passed: boolean;
  findings: string[];
  summary: DrillSummary;
  kinds: { kind: string; summary: DrillSummary }[];
  faults: DrillFault[];
  faults_left_out: number;
  false_alarms: { time: string; container: string; action: EventKind; reason: string }[];
  other_actions: number;
  shared_incidents: number;
}

export interface DrillDetails {
  drill: Drill;
  report: DrillReport | null;
}

export async function readDrills(limit: number, signal: AbortSignal): Promise<Drill[]> {
  return (await (await ask(`/api/v1/drills?limit=${limit}`, { signal })).json()) as Drill[];
}

export async function readDrill(id: string, signal: AbortSignal): Promise<DrillDetails> {
  return (await (await ask(`/api/v1/drills/${encodeURIComponent(id)}`, { signal })).json()) as DrillDetails;
}

export const STATES: Readonly<Record<DrillState, { tone: Tone; label: string; help: string }>> = {
  running: { tone: 'info', label: 'under way', help: 'It is under way' },
  passed: { tone: 'good', label: 'passed', help: 'All came out as expected' },
  failed: { tone: 'bad', label: 'failed', help: 'Something was missed, came late, or was touched that should not have been' },
  lost: { tone: 'warn', label: 'lost', help: 'It ended without a report: whoever ran it died, or could not reach the controller' },
  unknown: { tone: 'quiet', label: 'unknown', help: 'This page is older than the controller' },
};

export const stateOf = (state: DrillState) => STATES[state] ?? STATES.unknown;

export const OUTCOMES: Readonly<Record<FaultOutcome, { tone: Tone; label: string }>> = {
  as_expected: { tone: 'good', label: 'as expected' },
  missed: { tone: 'bad', label: 'missed' },
  late: { tone: 'warn', label: 'late' },
  wrong: { tone: 'bad', label: 'wrong' },
  not_judged: { tone: 'quiet', label: 'not judged' },
};

export const outcomeOf = (outcome: FaultOutcome) => OUTCOMES[outcome] ?? OUTCOMES.not_judged;

/** Of the faults that were to be found, how many were, percent; null where none was to be. */
export function found({ detected, missed }: DrillSummary): number | null {
  return detected + missed === 0 ? null : (100 * detected) / (detected + missed);
}

/** A span of milliseconds: exact below a minute. */
export const took = (value: number | null | undefined): string =>
  value === null || value === undefined ? millis(value) : value >= 60_000 ? span(value / 1000) : millis(value);

export const WANTED: Readonly<Record<FaultWanted, string>> = {
  found: 'found',
  healed: 'healed',
  untouched: 'left alone',
  quarantined: 'quarantined',
  shared: 'one shared cause named',
  nothing: 'nothing',
};

export const wantedOf = ({ wanted, within_ms: within }: DrillFault) =>
  `${WANTED[wanted] ?? WANTED.nothing}${within === null ? '' : ` ${wanted === 'untouched' ? 'for' : 'within'} ${took(within)}`}`;

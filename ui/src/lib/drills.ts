// The words and figures of drills and their reports.
import type { Schemas } from '../api/client';
import { millis, span } from './format';
import type { Tone } from './health';

export type Drill = Schemas['Drill'];
export type DrillDetails = Schemas['DrillDetails'];
export type DrillReport = Schemas['DrillReport'];
export type DrillFault = Schemas['DrillFault'];
export type Spread = Schemas['Spread'];

export const STATES: Readonly<Record<Schemas['DrillState'], { tone: Tone; label: string; help: string }>> = {
  running: { tone: 'info', label: 'under way', help: 'It is under way' },
  passed: { tone: 'good', label: 'passed', help: 'All came out as expected' },
  failed: { tone: 'bad', label: 'failed', help: 'Something was missed, came late, or was touched that should not have been' },
  lost: { tone: 'warn', label: 'lost', help: 'It ended without a report: whoever ran it died, or could not reach the controller' },
  unknown: { tone: 'quiet', label: 'unknown', help: 'This page is older than the controller' },
};

export const stateOf = (state: Drill['state']) => STATES[state] ?? STATES.unknown;

export const OUTCOMES: Readonly<Record<Schemas['FaultOutcome'], { tone: Tone; label: string }>> = {
  as_expected: { tone: 'good', label: 'as expected' },
  missed: { tone: 'bad', label: 'missed' },
  late: { tone: 'warn', label: 'late' },
  wrong: { tone: 'bad', label: 'wrong' },
  not_judged: { tone: 'quiet', label: 'not judged' },
};

export const outcomeOf = (outcome: DrillFault['outcome']) => OUTCOMES[outcome] ?? OUTCOMES.not_judged;

/** Of the faults that were to be found, how many were, percent; null where none was to be. */
export function found({ detected, missed }: Schemas['DrillSummary']): number | null {
  return detected + missed === 0 ? null : (100 * detected) / (detected + missed);
}

/** A span of milliseconds: exact below a minute. */
export const took = (value: number | null | undefined): string =>
  value === null || value === undefined ? millis(value) : value >= 60_000 ? span(value / 1000) : millis(value);

export const WANTED: Readonly<Record<Schemas['FaultWanted'], string>> = {
  found: 'found',
  healed: 'healed',
  untouched: 'left alone',
  quarantined: 'quarantined',
  shared: 'one shared cause named',
  nothing: 'nothing',
};

export const wantedOf = ({ wanted, within_ms: within }: DrillFault) =>
  `${WANTED[wanted] ?? WANTED.nothing}${within === null || within === undefined ? '' : ` ${wanted === 'untouched' ? 'for' : 'within'} ${took(within)}`}`;

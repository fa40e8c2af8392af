// The words for how containers are: their order, colour and meaning.
import type { Schemas } from '../api/client';

export type Health = Schemas['Health'];

/** Colours by meaning; each also has a shape of its own, so that none is told by colour alone. */
export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'held' | 'ice' | 'quiet';

/** The worst first, as every view lists them. */
export const HEALTHS: readonly Health[] = [
  'failing',
  'quarantined',
  'frozen',
  'recovering',
  'degraded',
  'not_pingable',
  'unknown',
  'healthy',
  'unmonitored',
];

export const RANK: Readonly<Record<Health, number>> = Object.fromEntries(
  HEALTHS.map((health, index) => [health, index]),
) as Record<Health, number>;

export const TONES: Readonly<Record<Health, Tone>> = {
  failing: 'bad',
  quarantined: 'held',
  frozen: 'ice',
  recovering: 'info',
  degraded: 'warn',
  not_pingable: 'quiet',
  unknown: 'quiet',
  healthy: 'good',
  unmonitored: 'quiet',
};

export const MEANINGS: Readonly<Record<Health, string>> = {
  failing: 'Down, lossier than its threshold, or unhealthy by its own HEALTHCHECK',
  quarantined: 'Failing, and its restart budget is spent: left alone until released',
  frozen: 'Failing, and a freeze, maintenance or the breaker keeps it from being healed',
  recovering: 'Started or restarted, and not yet seen well again',
  degraded: 'Loses packets, not more than its threshold',
  not_pingable: 'Runs, but never answered a probe: judged by its state and HEALTHCHECK alone',
  unknown: 'Not known now: not checked yet, paused, or its engine does not answer',
  healthy: 'Runs, and its last check lost nothing',
  unmonitored: 'Not on the list: shown, never touched',
};

/** Whether somebody may want to look. */
export const isBad = (health: Health) => RANK[health] <= RANK.frozen;

/** A health as the API says it, or `unknown` where this page is older than the word. */
export const known = (health: Health): Health => (Object.hasOwn(RANK, health) ? health : 'unknown');

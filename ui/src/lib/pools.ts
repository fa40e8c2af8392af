// The colours of pools and their containers.
import type { Schemas } from '../api/client';
import type { Tone } from './health';

const TONES: Readonly<Record<Schemas['PoolHealth'] | Schemas['PoolContainerState'], Tone>> = {
  starting: 'info',
  serving: 'good',
  degraded: 'warn',
  down: 'bad',
  ending: 'quiet',
  ready: 'good',
  draining: 'quiet',
  removing: 'quiet',
  unknown: 'quiet',
};

/** A controller newer than this page may tell of others. */
export const poolTone = (state: string): Tone => (Object.hasOwn(TONES, state) ? TONES[state as keyof typeof TONES] : 'quiet');

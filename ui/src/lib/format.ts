// Figures and times as people read them. What is unknown is a dash, never 0.
export const UNKNOWN = '–';
const NARROW = '\u202f';
const NBSP = '\u00a0';

/** A number with about three digits. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 100 || Number.isInteger(value)) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.01 || size === 0 ? value.toFixed(2).replace(/\.?0+$/, '') : value.toPrecision(2);
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : value.toLocaleString('en-US').replaceAll(',', NARROW);
}

/** `1 host`, `3 hosts`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)}${NBSP}${value === 1 ? one : many}`;
}

export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  const text = value >= 10 || value === 0 ? value.toFixed(0) : value < 0.1 ? '<0.1' : value.toFixed(1).replace('.0', '');
  return `${text}${NBSP}%`;
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  let scaled = value;
  let unit = 0;
  while (Math.abs(scaled) >= 999.5 && unit < SIZES.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  const text = unit === 0 ? scaled.toFixed(0) : Math.abs(scaled) >= 100 ? scaled.toFixed(0) : Math.abs(scaled) >= 10 ? scaled.toFixed(1) : scaled.toFixed(2);
  return `${text}${NBSP}${SIZES[unit]}`;
}

export function rate(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : `${bytes(value)}/s`;
}

export function millis(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  return value >= 1000 ? `${short(value / 1000)}${NBSP}s` : `${short(value)}${NBSP}ms`;
}

/** A span of seconds in its largest two units: `3 d 4 h`. */
export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return `0${NBSP}s`;
  const shown = parts.slice(first, first + 2).filter(([value]) => value > 0);
  return shown.map(([value, unit]) => `${value}${NBSP}${unit}`).join(' ');
}

/** How long before `now` that was: one unit is enough. */
export function ago(time: number, now: number): string {
  const seconds = Math.round((now - time) / 1000);
  if (seconds < -1) return `in ${oneUnit(-seconds)}`;
  return seconds < 2 ? 'now' : `${oneUnit(seconds)} ago`;
}

function oneUnit(seconds: number): string {
  if (seconds < 60) return `${seconds}${NBSP}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}${NBSP}min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}${NBSP}h`;
  return `${Math.floor(seconds / 86_400)}${NBSP}d`;
}

const FULL = new Intl.DateTimeFormat(undefined, {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
  timeZoneName: 'short',
});
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' });

/** The whole moment, in the viewer's zone. */
export const absolute = (time: number) => FULL.format(time);
/** The time of day, in the viewer's zone. */
export const timeOfDay = (time: number) => CLOCK.format(time);
/** The day, in the viewer's zone. */
export const day = (time: number) => DAY.format(time);

/** A word of the interface as people write it: `not_pingable` is `not pingable`. */
export const plain = (word: string) => word.replaceAll('_', ' ');
export const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

// uPlot as the charts use it; loaded only when one is shown.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Unit } from './metrics';
import { short, span } from './format';

export interface Line {
  id: string;
  label: string;
  /** Index of the colour, 1 to 6. */
  color: number;
  dashed?: boolean;
  /** One a point; null where there is no sample, undefined where another line has a point and this has none. */
  values: (number | null | undefined)[];
}

/** A moment worth seeing: a restart, a fault. */
export interface Mark {
  /** Unix seconds. */
  t: number;
  label: string;
  tone: 'good' | 'warn' | 'bad' | 'info' | 'held' | 'ice' | 'quiet';
}

export interface PlotOptions {
  width: number;
  height: number;
  unit: Unit;
  lines: Line[];
  /** Unix seconds. */
  t: number[];
  range: [number, number];
  marks: Mark[];
  /** Charts of one name move their cursors together. */
  sync: string;
  /** The greatest value that is sure to be shown. */
  top?: number;
  onzoom: (from: number, to: number) => void;
  oncursor: (index: number | null) => void;
}

/** The least that an axis spans, so that noise does not look like news. */
const LEAST: Partial<Record<Unit, number>> = { percent: 1, bytes: 1024, rate: 1024, ms: 0.05 };

/** More marks than these are arrows alone: lines would hide what they mark. */
const LINED = 30;

const SIZES = ['', 'Ki', 'Mi', 'Gi', 'Ti'];

/** A value beside the axis: as short as can be. */
export function tickLabel(unit: Unit, value: number): string {
  switch (unit) {
    case 'bytes':
    case 'rate': {
      let scaled = value;
      let size = 0;
      while (scaled >= 1024 && size < SIZES.length - 1) {
        scaled /= 1024;
        size += 1;
      }
      return `${short(scaled)}\u00a0${SIZES[size]}B`;
    }
    case 'percent':
      return `${short(value)} %`;
    case 'ms':
      return value >= 1000 ? `${short(value / 1000)} s` : `${short(value)} ms`;
    case 'seconds':
      return span(value);
    case 'celsius':
      return `${short(value)}°`;
    default:
      return value >= 10_000 ? `${short(value / 1000)}k` : short(value);
  }
}

/** Steps of bytes are powers of two. */
function incrs(unit: Unit): number[] | undefined {
  if (unit !== 'bytes' && unit !== 'rate') return undefined;
  return Array.from({ length: 50 }, (_, power) => 2 ** power);
}

const two = (value: number) => String(value).padStart(2, '0');

function xLabels(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  let lastDay = '';
  return splits.map((at) => {
    const date = new Date(at * 1000);
    const day = date.toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
    if (step >= 86_400) return day;
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}${step < 60 ? `:${two(date.getSeconds())}` : ''}`;
    const midnight = date.getHours() === 0 && date.getMinutes() === 0;
    const text = midnight && day !== lastDay ? day : clock;
    lastDay = day;
    return text;
  });
}

/** The colours of the pages as `target` has them, by their names; each is resolved once. */
function paints(target: HTMLElement): (name: string) => string {
  const known = new Map<string, string>();
  return (name) => {
    let color = known.get(name);
    if (color === undefined) {
      // A canvas does not know what is light and what is dark: an element tells.
      const probe = target.appendChild(document.createElement('i'));
      probe.style.color = `var(${name})`;
      color = getComputedStyle(probe).color;
      probe.remove();
      known.set(name, color);
    }
    return color;
  };
}

/** `rgb(1, 2, 3)`, hardly seen. */
const faint = (color: string): string => color.replace('rgb(', 'rgba(').replace(')', ', 0.11)');

/** A chart on `target`, with what changes it later. */
export class Plot {
  readonly #plot: uPlot;
  #options: PlotOptions;

  constructor(target: HTMLElement, options: PlotOptions) {
    this.#options = options;
    const color = paints(target);
    const font = `11px ${getComputedStyle(target).getPropertyValue('--font') || 'sans-serif'}`;
    const grid = { stroke: color('--line'), width: 1 };
    const axis = { stroke: color('--muted'), font, grid, ticks: { show: false }, labelSize: 0 };
    const steps = incrs(options.unit);
    this.#plot = new uPlot(
      {
        width: options.width,
        height: options.height,
        ms: 1e-3,
        padding: [10, 8, 0, 0],
        legend: { show: false },
        cursor: {
          sync: { key: options.sync },
          drag: { x: true, y: false, setScale: false },
          points: { size: 6 },
          y: false,
        },
        scales: {
          x: { time: true, range: () => this.#options.range },
          y: { range: (_, __, max) => [0, this.#top(max)] },
        },
        axes: [
          { ...axis, size: 26, gap: 4, space: 64, values: xLabels },
          {
            ...axis,
            size: 58,
            gap: 6,
            space: 34,
            ...(steps ? { incrs: steps } : {}),
            values: (_, splits) => splits.map((value) => tickLabel(options.unit, value)),
          },
        ],
        series: [
          {},
          ...options.lines.map((line, index) => {
            const stroke = color(`--series-${line.color}`);
            const filled = index === 0 && !line.dashed;
            return {
              label: line.label,
              stroke,
              width: 1.5,
              ...(filled ? { fill: faint(stroke) } : {}),
              ...(line.dashed ? { dash: [5, 4] } : {}),
              points: { show: (u: uPlot) => (u.data[0]?.length ?? 0) < 30, size: 4 },
              spanGaps: false,
            } satisfies uPlot.Series;
          }),
        ],
        hooks: {
          setSelect: [(u) => this.#zoomed(u)],
          setCursor: [(u) => this.#options.oncursor(u.cursor.idx ?? null)],
          draw: [(u) => this.#drawMarks(u, color)],
        },
      },
      this.#data(options),
      target,
    );
  }

  set(options: PlotOptions): void {
    const resized = options.width !== this.#options.width || options.height !== this.#options.height;
    this.#options = options;
    if (resized) this.#plot.setSize({ width: options.width, height: options.height });
    this.#plot.setData(this.#data(options));
  }

  destroy(): void {
    this.#plot.destroy();
  }

  #data(options: PlotOptions): uPlot.AlignedData {
    return [options.t, ...options.lines.map((line) => line.values)] as uPlot.AlignedData;
  }

  #top(max: number | null): number {
    const { top, unit } = this.#options;
    const least = top ?? LEAST[unit] ?? 1;
    const wanted = Math.max(least, (max ?? 0) * 1.12);
    return top === 100 ? Math.max(100, max ?? 0) : wanted;
  }

  #zoomed(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < 8) return;
    const [from, to] = [plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    // Of charts that move together only the one under the pointer speaks.
    if (plot.root.matches(':hover')) this.#options.onzoom(from, to);
  }

  #drawMarks(plot: uPlot, color: (name: string) => string): void {
    const { ctx, bbox } = plot;
    const scale = devicePixelRatio || 1;
    const [from, to] = this.#options.range;
    ctx.save();
    ctx.lineWidth = scale;
    const seen = this.#options.marks.filter((mark) => mark.t >= from && mark.t <= to);
    for (const mark of seen) {
      const x = Math.round(plot.valToPos(mark.t, 'x', true));
      ctx.strokeStyle = ctx.fillStyle = color(`--${mark.tone}`);
      if (seen.length <= LINED) {
        ctx.setLineDash([3 * scale, 3 * scale]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.setLineDash([]);
      }
      ctx.beginPath();
      ctx.moveTo(x - 4 * scale, bbox.top - 7 * scale);
      ctx.lineTo(x + 4 * scale, bbox.top - 7 * scale);
      ctx.lineTo(x, bbox.top);
      ctx.fill();
    }
    ctx.restore();
  }
}

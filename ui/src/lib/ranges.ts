// Spans of time that charts show, and how they stand in an address: `range=24h`, `range=1h@1795345000-1795348600`.

export const SPANS = { '1h': 3600, '24h': 86_400, '7d': 604_800 } as const;
export type SpanName = keyof typeof SPANS;

export interface View {
  span: SpanName;
  /** Unix seconds; null while the span until now is shown. */
  zoom: [number, number] | null;
}

export function readView(text: string | null): View {
  const [name, zoom] = (text ?? '').split('@');
  const span: SpanName = name && Object.hasOwn(SPANS, name) ? (name as SpanName) : '1h';
  const found = /^(\d{1,12})-(\d{1,12})$/.exec(zoom ?? '');
  const [from, to] = found ? [Number(found[1]), Number(found[2])] : [0, 0];
  return { span, zoom: from < to ? [from, to] : null };
}

export function writeView({ span, zoom }: View): string | null {
  if (zoom) return `${span}@${Math.round(zoom[0])}-${Math.round(zoom[1])}`;
  return span === '1h' ? null : span;
}

/** The span that is shown, unix seconds. */
export function rangeOf(view: View, now: number): [number, number] {
  return view.zoom ?? [now - SPANS[view.span], now];
}

// Lines of several subjects, whose moments differ, on one axis.

/** Several subjects on one axis: where one has no point of another's, its line goes on. */
export function joined(parts: { t: number[]; values: (number | null)[] }[]): { t: number[]; values: (number | null | undefined)[][] } {
  const [only] = parts;
  if (parts.length === 1 && only) return { t: only.t, values: [only.values] };
  const t = [...new Set(parts.flatMap((part) => part.t))].sort((a, b) => a - b);
  const place = new Map(t.map((at, index) => [at, index]));
  const values = parts.map((part) => {
    const line: (number | null | undefined)[] = Array<undefined>(t.length).fill(undefined);
    part.t.forEach((at, index) => {
      const to = place.get(at);
      if (to !== undefined) line[to] = part.values[index] ?? null;
    });
    return line;
  });
  return { t, values };
}

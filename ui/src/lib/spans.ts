/** For how long a freeze may hold, as the interface takes it; nothing is until it is lifted. */
export const FREEZE_SPANS = [
  { value: '30m', label: '30 minutes' },
  { value: '1h', label: '1 hour' },
  { value: '4h', label: '4 hours' },
  { value: '1d', label: '1 day' },
  { value: '', label: 'Until it is lifted' },
] as const;

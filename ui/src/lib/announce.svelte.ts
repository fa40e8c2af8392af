// What is said to those who listen instead of looking, and shown for a while to all others.

export interface Toast {
  id: number;
  text: string;
  tone: 'good' | 'bad' | 'info';
}

/** How long a note stays, milliseconds. */
const STAYS = 6000;

class Announcer {
  /** Read aloud when it changes. */
  spoken = $state('');
  toasts = $state.raw<Toast[]>([]);
  #next = 1;

  /** Says it to screen readers alone. */
  say(text: string): void {
    this.spoken = text;
  }

  /** Shows it for a while, and says it. */
  note(text: string, tone: Toast['tone'] = 'info'): void {
    const toast = { id: this.#next, text, tone };
    this.#next += 1;
    this.toasts = [...this.toasts.slice(-3), toast];
    setTimeout(() => this.dismiss(toast.id), STAYS);
  }

  dismiss(id: number): void {
    this.toasts = this.toasts.filter((toast) => toast.id !== id);
  }
}

export const announcer = new Announcer();

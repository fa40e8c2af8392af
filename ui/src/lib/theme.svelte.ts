// Light or dark: as the system has it, or as was chosen here.
export type Theme = 'system' | 'light' | 'dark';
/** `index.html` reads it too, before the first paint. */
const KEY = 'dockhealth.theme';

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    // Where storage is forbidden, the choice lasts as long as the page.
    return 'system';
  }
}

const dark = matchMedia('(prefers-color-scheme: dark)');

class ThemeState {
  choice = $state<Theme>(stored());
  #systemDark = $state(dark.matches);
  readonly shown = $derived<'light' | 'dark'>(this.choice === 'system' ? (this.#systemDark ? 'dark' : 'light') : this.choice);

  constructor() {
    dark.addEventListener('change', (event) => (this.#systemDark = event.matches));
    this.#apply();
  }

  set(choice: Theme): void {
    this.choice = choice;
    try {
      if (choice === 'system') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // As above.
    }
    this.#apply();
  }

  toggle(): void {
    this.set(this.shown === 'dark' ? 'light' : 'dark');
  }

  #apply(): void {
    if (this.choice === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.choice;
  }
}

export const theme = new ThemeState();

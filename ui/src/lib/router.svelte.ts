// Addresses and pages: plain links, the browser's own history, and what of the address a page reads.
import { tick } from 'svelte';

export type PageName =
  | 'fleet'
  | 'host'
  | 'container'
  | 'network'
  | 'events'
  | 'incidents'
  | 'drills'
  | 'drill'
  | 'pools'
  | 'pool'
  | 'settings'
  | 'login'
  | 'missing';

export interface Route {
  page: PageName;
  /** What stands for the placeholders of the path, decoded. */
  params: string[];
  path: string;
}

const PAGES: [RegExp, PageName][] = [
  [/^\/$/, 'fleet'],
  [/^\/hosts\/([^/]+)$/, 'host'],
  [/^\/containers\/([^/]+)\/([^/]+)$/, 'container'],
  [/^\/network$/, 'network'],
  [/^\/events$/, 'events'],
  [/^\/incidents$/, 'incidents'],
  [/^\/drills$/, 'drills'],
  [/^\/drills\/([^/]+)$/, 'drill'],
  [/^\/pools$/, 'pools'],
  [/^\/pools\/([^/]+)\/([^/]+)$/, 'pool'],
  [/^\/settings$/, 'settings'],
  [/^\/login$/, 'login'],
];

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function match(pathname: string): Route {
  const path = pathname.length > 1 ? pathname.replace(/\/+$/, '') || '/' : pathname;
  for (const [pattern, page] of PAGES) {
    const found = pattern.exec(path);
    if (found) return { page, params: found.slice(1).map(decoded), path };
  }
  return { page: 'missing', params: [], path };
}

class Router {
  route = $state.raw<Route>(match(location.pathname));
  query = $state.raw(new URLSearchParams(location.search));
  /** Counts the pages that were gone to; a page that only changes its query stays the same. */
  visits = $state(0);

  constructor() {
    history.scrollRestoration = 'manual';
    addEventListener('popstate', () => this.#read(true));
    document.addEventListener('click', (event) => this.#click(event));
  }

  /** Goes to a page of ours. */
  go(href: string, how: { replace?: boolean } = {}): void {
    const to = new URL(href, location.href);
    this.#keepScroll();
    if (how.replace || to.href === location.href) history.replaceState({ scroll: 0 }, '', to);
    else history.pushState({ scroll: 0 }, '', to);
    this.#read(false);
  }

  /** Changes parts of the query in place: `null` and `''` take one away. The page stays, and so does where it is scrolled. */
  setQuery(changes: Record<string, string | null | undefined>, how: { push?: boolean } = {}): void {
    const next = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === '') next.delete(name);
      else next.set(name, value);
    }
    const text = next.toString();
    if (text === this.query.toString()) return;
    const href = location.pathname + (text ? `?${text}` : '');
    if (how.push) history.pushState({ scroll: scrollY }, '', href);
    else history.replaceState(history.state, '', href);
    this.query = next;
  }

  #keepScroll(): void {
    history.replaceState({ ...history.state, scroll: scrollY }, '');
  }

  #read(back: boolean): void {
    const route = match(location.pathname);
    const moved = route.path !== this.route.path;
    this.query = new URLSearchParams(location.search);
    if (moved) {
      this.route = route;
      this.visits += 1;
    }
    const to = back ? Number(history.state?.scroll ?? 0) : 0;
    if (moved || back) void tick().then(() => requestAnimationFrame(() => scrollTo(0, to)));
  }

  #click(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    // The REST interface and its documentation are no pages of ours.
    if (match(link.pathname).page === 'missing') return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    this.go(link.href);
  }
}

export const router = new Router();

/** Addresses of pages. */
export const to = {
  fleet: (query?: Record<string, string>) => withQuery('/', query),
  host: (name: string) => `/hosts/${encodeURIComponent(name)}`,
  container: (host: string, name: string) => `/containers/${encodeURIComponent(host)}/${encodeURIComponent(name)}`,
  events: (query?: Record<string, string>) => withQuery('/events', query),
  incidents: (query?: Record<string, string>) => withQuery('/incidents', query),
  drill: (id: string) => `/drills/${encodeURIComponent(id)}`,
  pool: (host: string, name: string) => `/pools/${encodeURIComponent(host)}/${encodeURIComponent(name)}`,
  login: (next: string) => withQuery('/login', next === '/' ? {} : { next }),
};

function withQuery(path: string, query: Record<string, string> = {}): string {
  const text = new URLSearchParams(query).toString();
  return text ? `${path}?${text}` : path;
}

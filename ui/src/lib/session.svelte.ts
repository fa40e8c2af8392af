// Who looks, and what they may do.
import { ApiError, ask, onSignedOut, setCsrf } from '../api/client';

export interface Session {
  /** What the session's token may do; null without one. */
  scope: 'read' | 'write' | null;
  /** The token's name. */
  name: string | null;
  csrf: string | null;
  /** Whether this browser may read without a token, being on the controller's own machine. */
  local_read: boolean;
  /** The controller's version. */
  version: string;
}

class SessionState {
  current = $state.raw<Session | null>(null);
  /** Why it could not be asked; null while it could. */
  problem = $state<string | null>(null);

  get known(): boolean {
    return this.current !== null;
  }

  get mayRead(): boolean {
    return this.current !== null && (this.current.scope !== null || this.current.local_read);
  }

  get mayWrite(): boolean {
    return this.current?.scope === 'write';
  }

  constructor() {
    // A session that ended is asked for anew, once: the answer says whether a login is needed.
    onSignedOut(() => {
      if (this.current?.scope || this.current?.local_read) void this.load();
    });
  }

  async load(): Promise<void> {
    try {
      this.#take(await (await ask('/api/v1/session')).json());
      this.problem = null;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
  }

  /** Throws an `ApiError` whose message says why the token was refused. */
  async login(token: string): Promise<void> {
    const response = await ask('/api/v1/session', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ token }),
    });
    if (response.status === 204) await this.load();
    else this.#take(await response.json());
  }

  async logout(): Promise<void> {
    try {
      await ask('/api/v1/session', { method: 'DELETE' });
    } catch (error) {
      // Whoever is logged out already is where they wanted to be.
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
    }
    await this.load();
  }

  #take(session: Session): void {
    setCsrf(session.csrf);
    this.current = session;
  }
}

export const session = new SessionState();

// The one way to the REST interface. Paths, parameters and answers are those of `schema.d.ts`, which is generated from
// the interface's own description: what does not fit it does not compile.
import type { components, paths } from './schema';

export type Schemas = components['schemas'];
type Method = 'get' | 'put' | 'post' | 'delete';
type PathsOf<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, object> ? P : never }[keyof paths];
type Operation<P extends keyof paths, M extends Method> = M extends keyof paths[P] ? NonNullable<paths[P][M]> : never;
type Content<T> = T extends { content: { 'application/json': infer Body } } ? Body : undefined;
type Answers<O> = O extends { responses: infer R } ? R : never;
type Good<R> = Content<R[Extract<keyof R, 200 | 201 | 202 | 204>]>;
type Parameters<O> = O extends { parameters: infer Q } ? Q : never;
type PathOf<O> = Parameters<O> extends { path: infer Q } ? { path: Q } : { path?: undefined };
type QueryOf<O> = Parameters<O> extends { query?: infer Q } ? { query?: Q } : { query?: undefined };
type BodyOf<O> = O extends { requestBody: { content: { 'application/json': infer B } } } ? { body: B } : { body?: undefined };
export type Options<P extends keyof paths, M extends Method> = PathOf<Operation<P, M>> &
  QueryOf<Operation<P, M>> &
  BodyOf<Operation<P, M>> & { signal?: AbortSignal };
export type Reply<P extends keyof paths, M extends Method> = Good<Answers<Operation<P, M>>>;

/** What went wrong, in the words of the interface: `message` may be shown as it is. */
export class ApiError extends Error {
  /** The HTTP status; 0 where no answer came. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** What was caught, as words to show. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether it was ended by whoever asked. */
export function aborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

let csrf: string | null = null;
let signedOut: () => void = () => {};

/** The session's token against forged requests, which goes with every change. */
export function setCsrf(token: string | null): void {
  csrf = token;
}

/** Called when the controller wants a login that it did not want before. */
export function onSignedOut(handler: () => void): void {
  signedOut = handler;
}

let skew = 0;

/** By how much the controller's clock is ahead of this one, milliseconds; 0 where they agree within two seconds. */
export function clockSkew(): number {
  return skew;
}

function noteDate(response: Response): void {
  const date = Date.parse(response.headers.get('date') ?? '');
  // It tells whole seconds, and came some time ago.
  const ahead = date + 500 - Date.now();
  if (Number.isFinite(ahead)) skew = Math.abs(ahead) > 2000 ? ahead : 0;
}

function address(template: string, path?: Record<string, unknown>, query?: Record<string, unknown>): string {
  const filled = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(path?.[name])));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `${filled}?${text}` : filled;
}

/** The problem that an answer holds. */
export async function problemOf(response: Response): Promise<ApiError> {
  let detail = '';
  try {
    const body: unknown = await response.json();
    if (body && typeof body === 'object' && 'detail' in body) detail = String(body.detail);
  } catch {
    // A proxy's own page says less than the status does.
  }
  return new ApiError(response.status, detail || `The controller answered ${response.status} ${response.statusText}.`);
}

/** A browser gives up every question when the machine's network changes, were it only by a container that starts. */
const SECOND_TRY = 400;

async function reached(url: string, init: RequestInit): Promise<Response> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await fetch(url, init);
    } catch (error) {
      if (aborted(error)) throw error;
      // What changes something is not said twice.
      const asks = init.method === undefined || init.method === 'GET';
      if (!asks || tries > 1) {
        throw new ApiError(0, 'The controller does not answer. It may be restarting, or the network between is down.');
      }
      await new Promise((resolve) => setTimeout(resolve, SECOND_TRY));
    }
  }
}

/** Asks with the session's cookie; a status that says no is thrown as an `ApiError`. */
export async function ask(url: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (init.method && init.method !== 'GET' && csrf) headers.set('X-CSRF-Token', csrf);
  const response = await reached(url, { ...init, headers, credentials: 'same-origin', cache: 'no-store' });
  noteDate(response);
  if (response.ok) return response;
  if (response.status === 401) signedOut();
  throw await problemOf(response);
}

async function call<P extends keyof paths, M extends Method>(
  method: M,
  template: P,
  options: { path?: unknown; query?: unknown; body?: unknown; signal?: AbortSignal } = {},
): Promise<Reply<P, M>> {
  const { path, query, body, signal } = options;
  const url = address(template, path as Record<string, unknown>, query as Record<string, unknown>);
  const init: RequestInit = { method: method.toUpperCase(), signal };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { 'Content-Type': 'application/json' };
  }
  const response = await ask(url, init);
  if (response.status === 204) return undefined as Reply<P, M>;
  return (await response.json()) as Reply<P, M>;
}

type Arguments<P extends keyof paths, M extends Method> =
  Record<string, never> extends Options<P, M> ? [options?: Options<P, M>] : [options: Options<P, M>];

export const get = <P extends PathsOf<'get'>>(path: P, ...[options]: Arguments<P, 'get'>) => call('get', path, options);
export const put = <P extends PathsOf<'put'>>(path: P, ...[options]: Arguments<P, 'put'>) => call('put', path, options);
export const post = <P extends PathsOf<'post'>>(path: P, ...[options]: Arguments<P, 'post'>) => call('post', path, options);
export const del = <P extends PathsOf<'delete'>>(path: P, ...[options]: Arguments<P, 'delete'>) => call('delete', path, options);

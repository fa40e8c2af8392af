// Server-sent events over fetch. Beside what EventSource does, this sends `Last-Event-ID` when it is opened for other
// topics, knows why it was refused, and notices a connection that died without a word: the controller sends at least a
// comment every 15 s.
import { ApiError, ask } from '../api/client';

export interface Handlers {
  /** The first bytes came. */
  opened(): void;
  message(event: string, data: string, id: string | null): void;
  /** It ended, or never began; not called after `close`. */
  ended(error: ApiError): void;
}

/** How long nothing may come, milliseconds. */
const SILENCE = 40_000;

export class EventStream {
  readonly #abort = new AbortController();
  readonly #handlers: Handlers;
  #watchdog = 0;
  #closed = false;

  constructor(url: string, lastId: string | null, handlers: Handlers) {
    this.#handlers = handlers;
    void this.#follow(url, lastId);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#watchdog);
    this.#abort.abort();
  }

  async #follow(url: string, lastId: string | null): Promise<void> {
    try {
      this.#heard();
      const headers: Record<string, string> = { Accept: 'text/event-stream' };
      if (lastId !== null) headers['Last-Event-ID'] = lastId;
      const response = await ask(url, { headers, signal: this.#abort.signal });
      if (!response.body) throw new ApiError(0, 'The stream has no body.');
      await this.#read(response.body.pipeThrough(new TextDecoderStream()).getReader());
      throw new ApiError(0, 'The controller ended the stream.');
    } catch (error) {
      if (this.#closed) return;
      this.close();
      this.#handlers.ended(error instanceof ApiError ? error : new ApiError(0, 'The connection was lost.'));
    }
  }

  #heard(): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = window.setTimeout(() => this.#abort.abort(), SILENCE);
  }

  async #read(reader: ReadableStreamDefaultReader<string>): Promise<void> {
    const parser = new Parser((event, data, id) => {
      if (!this.#closed) this.#handlers.message(event, data, id);
    });
    let first = true;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.#heard();
      if (first && !this.#closed) this.#handlers.opened();
      first = false;
      parser.push(value);
    }
  }
}

/** Takes pieces of an event stream, cut anywhere, and gives its messages. */
export class Parser {
  #rest = '';
  #event = '';
  #data: string[] = [];
  #id: string | null = null;
  readonly #message: (event: string, data: string, id: string | null) => void;

  constructor(message: (event: string, data: string, id: string | null) => void) {
    this.#message = message;
  }

  push(piece: string): void {
    const lines = (this.#rest + piece).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line.endsWith('\r') ? line.slice(0, -1) : line);
  }

  #line(line: string): void {
    if (line === '') {
      if (this.#data.length > 0) this.#message(this.#event || 'message', this.#data.join('\n'), this.#id);
      this.#event = '';
      this.#data = [];
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') this.#event = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id') this.#id = value;
  }
}

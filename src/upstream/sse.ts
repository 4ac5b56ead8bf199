import { isEventStream, readEvents } from "./event-stream.ts";
import { quoted, reasonOf } from "./faults.ts";
import { faultOfError, faultOfStatus } from "./http-answer.ts";
import { type EndpointSpec, fetchRules } from "./http-wire.ts";
import type { Link, LinkHost } from "./link.ts";
import { createOutbox } from "./outbox.ts";
import { openPipe, type Pipe, type PipeEvents } from "./pipe-link.ts";

type SseSpec = Omit<EndpointSpec, "getStream">;

/** Opens the pair of endpoints of 2024-11-05: a stream for what the server says, and POSTs to where it says. */
export function openSse(spec: SseSpec, host: LinkHost): Link {
  return openPipe(host, (events) => new SsePipe(spec, host.server, events));
}

class SsePipe implements Pipe {
  readonly pid = null;
  readonly #spec: SseSpec;
  readonly #server: string;
  readonly #events: PipeEvents;
  readonly #outbox = createOutbox();
  readonly #stop = new AbortController();
  #endpoint: string | null = null;
  /** Resolves once the notification before has arrived: nothing may overtake it. */
  #told: Promise<void> = Promise.resolve();

  constructor(spec: SseSpec, server: string, events: PipeEvents) {
    this.#spec = spec;
    this.#server = server;
    this.#events = events;
    void this.#listen();
  }

  write(key: string, text: string): boolean {
    if (this.#endpoint === null) return this.#outbox.put(key, text);
    this.#send(this.#endpoint, key, text);
    return true;
  }

  take(key: string): boolean {
    return this.#outbox.take(key);
  }

  async close(): Promise<void> {
    this.#stop.abort();
  }

  async #listen(): Promise<void> {
    const { longest, received, ended } = this.#events;
    const take = (text: string, event: string): void => {
      if (event === "endpoint") this.#open(text);
      else if (event === "message") received(text);
    };
    try {
      const response = await this.#fetch(this.#spec.url, { headers: { Accept: "text/event-stream" } });
      if (!isEventStream(response)) {
        void response.body?.cancel().catch(() => {});
        return ended(reasonOf(faultOfStatus(this.#server, response.status, "")));
      }
      await readEvents(response, { longest, received: take });
      ended("its stream ended");
    } catch (error) {
      ended(reasonOf(faultOfError(this.#server, error)));
    }
  }

  /** Messages with the configured headers go nowhere but to the server that was configured. */
  #open(endpoint: string): void {
    const { url } = this.#spec;
    const target = URL.canParse(endpoint, url) ? new URL(endpoint, url) : null;
    if (target?.origin !== new URL(url).origin) {
      return this.#events.ended(`it names an endpoint of another origin: ${quoted(endpoint)}`);
    }
    this.#endpoint = target.href;
    for (const [key, text] of this.#outbox.drain()) this.#send(target.href, key, text);
  }

  #send(endpoint: string, key: string, text: string): void {
    const sent = this.#told.then(() => this.#post(endpoint, key, text));
    if (key.startsWith("tell")) this.#told = sent;
  }

  async #post(endpoint: string, key: string, body: string): Promise<void> {
    try {
      const response = await this.#fetch(endpoint, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body,
      });
      const { status } = response;
      void response.body?.cancel().catch(() => {});
      if (status < 200 || status >= 300) this.#events.failed(key, faultOfStatus(this.#server, status, ""));
    } catch (error) {
      this.#events.failed(key, faultOfError(this.#server, error));
    }
  }

  #fetch(url: string, init: { method?: string; headers: Record<string, string>; body?: string }): Promise<Response> {
    const { headers, proxy } = this.#spec;
    return fetch(url, {
      ...init,
      headers: { ...headers, "Accept-Encoding": "identity", ...init.headers },
      ...fetchRules,
      signal: this.#stop.signal,
      ...(proxy !== null && { proxy }),
    });
  }
}

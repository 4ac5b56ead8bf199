import { maxNameLength } from "../../core/name.ts";
import { isEventStream, isTooLarge, readEvents } from "../http/event-stream.ts";
import { faults, quoted, reasonOf } from "../faults.ts";
import { discard, faultOfError, faultOfStatus, shortText } from "../http/answer.ts";
import { lossOf } from "../http/lost-session.ts";
import { courtesyTimeout, type EndpointSpec, maxCourtesies, sendTo } from "../http/wire.ts";
import type { Link, LinkHost } from "../link/link.ts";
import { Outbox, type Send } from "../link/outbox.ts";
import { isNotification, isReply, type Pipe, type PipeEvents, PipeLink } from "../link/pipe-link.ts";

/** Opens the pair of endpoints of 2024-11-05: an event stream, and POSTs to the URL that the server names on it. */
export function openSse(spec: EndpointSpec, host: LinkHost): Link {
  return new PipeLink(host, (events) => new SsePipe(spec, host, events));
}

/** The maximum number of bytes of a refusal that are read. */
const maxRefusalBytes = 4_096;

class SsePipe implements Pipe {
  readonly pid = null;
  readonly #spec: EndpointSpec;
  readonly #host: LinkHost;
  readonly #events: PipeEvents;
  readonly #outbox = new Outbox(() => (this.#notifying ? null : this.#send));
  readonly #stop = new AbortController();
  /** Posts to the endpoint; null until the server has named it. */
  #send: Send | null = null;
  /** Whether a notification is being sent, which no later message may overtake. */
  #notifying = false;
  /** Answers to the server's requests that it has not accepted yet, by key. */
  readonly #replies = new Map<string, PromiseWithResolvers<void>>();

  constructor(spec: EndpointSpec, host: LinkHost, events: PipeEvents) {
    this.#spec = spec;
    this.#host = host;
    this.#events = events;
    void this.#listen();
  }

  write(key: string, text: string): boolean {
    if (!isReply(key)) return this.#outbox.write(key, text);
    if (this.#replies.size >= maxCourtesies || !this.#outbox.write(key, text)) return false;
    this.#replies.set(key, Promise.withResolvers());
    return true;
  }

  async taken(key: string): Promise<void> {
    await this.#replies.get(key)?.promise;
  }

  shut(): string | null {
    return this.#send === null ? "its stream did not name an endpoint for messages" : null;
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
      const headers = this.#headers({ Accept: "text/event-stream" });
      const response = await sendTo(this.#spec, { method: "GET", headers, signal: this.#stop.signal });
      if (!isEventStream(response)) {
        discard(response);
        return ended(reasonOf(faultOfStatus(this.#host, response, "")));
      }
      await readEvents(response, { longest, silence: null, received: take });
      ended("its stream ended");
    } catch (error) {
      if (isTooLarge(error)) return ended(`it sent an event of more than ${longest()} bytes (limits.result)`);
      ended(faultOfError(this.#host, error, this.#spec.proxy));
    }
  }

  /** Uses the server's endpoint. It must have the configured origin, since the configured headers are sent there. */
  #open(endpoint: string): void {
    const { url } = this.#spec;
    // A parser may need time quadratic in the length.
    const target = endpoint.length <= maxNameLength ? URL.parse(endpoint, url) : null;
    if (target?.origin !== new URL(url).origin) {
      return this.#events.ended(
        `the endpoint that it names does not have the configured origin: ${quoted(endpoint, this.#host.secrets())}`,
      );
    }
    this.#send = (key, text) => void this.#postInTurn(target.href, key, text);
    this.#outbox.flush();
  }

  /** Sends messages in parallel, except that each notification is sent alone; only requests may take their time. */
  async #postInTurn(endpoint: string, key: string, text: string): Promise<void> {
    if (isNotification(key)) {
      this.#notifying = true;
      await this.#post(endpoint, key, text);
      this.#notifying = false;
      this.#outbox.flush();
    } else {
      await this.#post(endpoint, key, text);
      this.#replies.get(key)?.resolve();
      this.#replies.delete(key);
    }
  }

  async #post(endpoint: string, key: string, body: string): Promise<void> {
    const isRequest = !isReply(key) && !isNotification(key);
    const stop = this.#stop.signal;
    const signal = isRequest ? stop : AbortSignal.any([stop, courtesyTimeout(this.#spec)]);
    try {
      const headers = this.#headers({ "Content-Type": "application/json" });
      const response = await sendTo(this.#spec, { method: "POST", headers, body, signal }, endpoint);
      const { status } = response;
      if (status >= 200 && status < 300) return discard(response);
      const said = await shortText(response, maxRefusalBytes);
      // Servers also answer unexpected notifications and answers with that text, although they know the stream.
      if (!isRequest || lossOf(status, said, "") === null) {
        return this.#events.failed(key, faultOfStatus(this.#host, response, said));
      }
      const reason = `it no longer knows its own stream (HTTP ${status})`;
      this.#events.failed(key, faults.down(this.#host.server, reason));
      this.#events.ended(reason);
    } catch (error) {
      this.#events.failed(key, faultOfError(this.#host, error, this.#spec.proxy));
    }
  }

  #headers(own: Record<string, string>): Record<string, string> {
    return { ...this.#spec.headers, "Accept-Encoding": "identity", ...own };
  }
}

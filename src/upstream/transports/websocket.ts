import { messageOf } from "../../core/error-text.ts";
import type { Failure } from "../../core/failure.ts";
import { Intake } from "../../core/turns.ts";
import { within } from "../../core/wait.ts";
import { isLonger } from "../../mcp/utf8.ts";
import { quoted } from "../faults.ts";
import { unsentFault } from "../http/answer.ts";
import { hostNameOf } from "../http/host-names.ts";
import type { EndpointSpec } from "../http/wire.ts";
import type { Link, LinkHost } from "../link/link.ts";
import { maxTotalBytes, Outbox, type Send } from "../link/outbox.ts";
import { type Pipe, type PipeEvents, PipeLink } from "../link/pipe-link.ts";

/** How long a server may take to answer the close frame, ms. */
const closeFrameMs = 1_000;

/** Opens a WebSocket with the subprotocol `mcp`, in which each text frame is one message. */
export function openWebSocket(spec: EndpointSpec, host: LinkHost): Link {
  return new PipeLink(host, (events) => new SocketPipe(spec, events, host));
}

/** Returns why a connection failed, without the message's prefix: it contains the address, which may hold a secret. */
function whyFailed({ message, error }: ErrorEvent, { server, secrets }: LinkHost, proxy: string | undefined) {
  const said = message.replace(/^.*? failed: /, "");
  return unsentFault(server, error, proxy) ?? `its connection failed (${quoted(said, secrets())})`;
}

class SocketPipe implements Pipe {
  readonly pid = null;
  #socket: WebSocket | null = null;
  /** Null until the connection is open. */
  #send: Send | null = null;
  readonly #outbox = new Outbox(() => this.#send);
  readonly #closed = Promise.withResolvers<void>();
  readonly #stop = new AbortController();

  constructor(spec: EndpointSpec, events: PipeEvents, host: LinkHost) {
    const { signal } = this.#stop;
    const begin = (): void => {
      if (!signal.aborted) this.#connect(spec, events, host);
    };
    const failed = (error: unknown): void =>
      events.ended(unsentFault(host.server, error, spec.proxy) ?? messageOf(error));
    const awaited = hostNameOf(spec)?.awaited(signal);
    if (awaited) awaited.then(begin).catch(failed);
    else begin();
  }

  #connect({ url, headers, proxy }: EndpointSpec, events: PipeEvents, host: LinkHost): void {
    const { received, ended } = events;
    const socket = (this.#socket = new WebSocket(url, {
      protocols: ["mcp"],
      headers: { ...headers },
      // A compressed message could be a decompression bomb.
      perMessageDeflate: false,
      ...(proxy !== undefined && { proxy }),
    }));
    socket.addEventListener("open", () => {
      this.#send = (_, text) => socket.send(text);
      this.#outbox.flush();
    });
    const take = (data: unknown): void => {
      if (typeof data !== "string") return ended("it sent a frame that is not text");
      const longest = events.longest();
      if (isLonger(data, longest)) return ended(`it sent a message of more than ${longest} bytes (limits.result)`);
      received(data);
    };
    const intake = new Intake({ take, pause: () => socket.pause(), resume: () => socket.resume() });
    socket.addEventListener("message", ({ data }: MessageEvent<unknown>) => intake.push(data));
    let why: Failure | string | null = null;
    socket.addEventListener("error", (event) => {
      if (event instanceof ErrorEvent) why = whyFailed(event, host, proxy);
    });
    socket.addEventListener("close", ({ code }) => {
      this.#closed.resolve();
      intake.end(() => ended(why ?? `its connection ended with code ${code}`));
    });
  }

  write(key: string, text: string): boolean {
    const buffered = this.#socket?.bufferedAmount ?? 0;
    return buffered <= maxTotalBytes && this.#outbox.write(key, text);
  }

  shut(): string | null {
    return this.#send === null ? "its WebSocket did not open" : null;
  }

  take(key: string): boolean {
    return this.#outbox.take(key);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    const socket = this.#socket;
    if (socket === null) return;
    socket.close(1000);
    await within(this.#closed.promise, closeFrameMs, null, () => socket.terminate());
  }
}

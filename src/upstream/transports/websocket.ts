import { Intake } from "../../core/turns.ts";
import { within } from "../../core/wait.ts";
import { isLonger } from "../../mcp/utf8.ts";
import { quoted } from "../faults.ts";
import { whyUnreached } from "../http/answer.ts";
import type { EndpointSpec } from "../http/wire.ts";
import type { Link, LinkHost } from "../link/link.ts";
import { createOutbox, mostBytes } from "../link/outbox.ts";
import { type Pipe, type PipeEvents, PipeLink } from "../link/pipe-link.ts";

/** How long a server may take to say goodbye, ms. */
const goodbyeMs = 1_000;

/** Opens a WebSocket with the subprotocol `mcp`, where each text frame is one message. */
export function openWebSocket(spec: EndpointSpec, host: LinkHost): Link {
  return new PipeLink(host, (events) => new SocketPipe(spec, events, host.secrets));
}

/** Why a connection failed. Before that its message names the address, which may hold a secret. */
function whyFailed({ message, error }: ErrorEvent, proxy: string | undefined, secrets: readonly string[]): string {
  const said = message.replace(/^.*? failed: /, "");
  return whyUnreached(error, proxy) ?? `its connection failed (${quoted(said, secrets)})`;
}

class SocketPipe implements Pipe {
  readonly pid = null;
  readonly #socket: WebSocket;
  readonly #outbox = createOutbox();
  readonly #closed = Promise.withResolvers<void>();

  constructor({ url, headers, proxy }: EndpointSpec, events: PipeEvents, secrets: LinkHost["secrets"]) {
    const { received, ended } = events;
    const socket = (this.#socket = new WebSocket(url, {
      protocols: ["mcp"],
      headers: { ...headers },
      // A compressed message could be a bomb.
      perMessageDeflate: false,
      ...(proxy !== undefined && { proxy }),
    }));
    socket.addEventListener("open", () => {
      for (const [, text] of this.#outbox.drain()) socket.send(text);
    });
    const intake = new Intake<unknown>({
      take: (data) => take(data),
      pause: () => socket.pause(),
      resume: () => socket.resume(),
    });
    const take = (data: unknown): void => {
      if (typeof data !== "string") return ended("it sent a frame that is no text");
      const longest = events.longest();
      if (isLonger(data, longest)) return ended(`it sent a message of more than ${longest} bytes`);
      received(data);
    };
    socket.addEventListener("message", ({ data }: MessageEvent<unknown>) => intake.push(data));
    let why: string | null = null;
    socket.addEventListener("error", (event) => {
      if (event instanceof ErrorEvent) why = whyFailed(event, proxy, secrets());
    });
    socket.addEventListener("close", ({ code }) => {
      this.#closed.resolve();
      intake.end(() => ended(why ?? `its connection ended with code ${code}`));
    });
  }

  write(key: string, text: string): boolean {
    const { readyState, bufferedAmount } = this.#socket;
    if (readyState === WebSocket.CONNECTING) return this.#outbox.put(key, text);
    if (bufferedAmount > mostBytes) return false;
    this.#socket.send(text);
    return true;
  }

  take(key: string): boolean {
    return this.#outbox.take(key);
  }

  async close(): Promise<void> {
    this.#socket.close(1000);
    await within(this.#closed.promise, goodbyeMs, null, () => this.#socket.terminate());
  }
}

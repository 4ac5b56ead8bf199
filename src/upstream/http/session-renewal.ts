import { reasonOf, unsent } from "../faults.ts";
import { initialize } from "../link/handshake.ts";
import type { Link, LinkHost, Peer } from "../link/link.ts";
import { query } from "../link/query.ts";
import type { HttpExchange } from "./http-exchange.ts";
import { isRefusal } from "./lost-session.ts";
import type { SessionStream } from "./session-stream.ts";
import type { HttpWire } from "./wire.ts";

const handshakeMs = 30_000;
/** How long a server may take to show whether it knows the session, ms. */
const pingMs = 5_000;
/** So many refusals in a row are a reason to ask whether it is the session that is refused. */
const doubtful = 3;

type Parts = { readonly link: Link; readonly host: LinkHost; readonly wire: HttpWire; readonly stream: SessionStream };

/** Opens a new session on a link whose server does not know the present one any more, or may not know it. */
export class SessionRenewal {
  readonly #parts: Parts;
  #underWay: Promise<void> | null = null;
  /** Requests of the session that were refused one after the other, in words that say nothing about it. */
  #refusals = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Settles as the renewal does that runs now; null where none runs. */
  get underWay(): Promise<void> | null {
    return this.#underWay;
  }

  /** Sends a ping in the session, which renews a session that is lost. */
  async lookAfter(peer: Peer): Promise<void> {
    const { link, host } = this.#parts;
    const timeout = Math.min(pingMs, host.timeout());
    await query(link, host, { method: "ping", peer, timeout }).catch(() => {});
  }

  /** Notes how a request was answered. A server may say in words of its own that it does not know the session. */
  note(status: number, { request, session }: HttpExchange): void {
    if (session === null || session !== this.#parts.wire.session) return;
    if (status < 300) this.#refusals = 0;
    // There are servers that refuse every ping, and health checks send nothing else: that alone is no reason.
    else if (!isRefusal(status) || (request.method === "ping" && this.#refusals < doubtful)) return;
    else if (++this.#refusals === doubtful) void this.#doubt(session, request.peer);
  }

  /** Renews a session in which a ping is refused too. Not again before it takes anything: it may not be the reason. */
  async #doubt(session: string, peer: Peer): Promise<void> {
    await this.lookAfter(peer);
    if (this.#refusals > doubtful) await this.renew(session, false).catch(() => {});
  }

  /**
   * Opens a new session in place of `lost`; all requests that lost the same session share the new one. Unless it is
   * surely lost, it is kept where the server opens no other.
   */
  async renew(lost: string | null, surely = true): Promise<void> {
    if (this.#parts.wire.session === lost) {
      this.#underWay ??= this.#handshakeAgain(surely).finally(() => (this.#underWay = null));
    }
    await this.#underWay;
  }

  async #handshakeAgain(surely: boolean): Promise<void> {
    const { link, host, wire, stream } = this.#parts;
    if (surely) {
      stream.close();
      wire.openSession(null);
    }
    const { session } = wire;
    try {
      host.renewed(await initialize(link, host, Math.min(handshakeMs, host.timeout())));
    } catch (error) {
      // A refusal that came with the status of a success named none.
      if (!surely && (wire.session ?? session) === session) return wire.openSession(session);
      // Without a session all that is still asked here would be refused; the next link opens one.
      const reason = `it opens no new session (${reasonOf(error)})`;
      link.fail(reason);
      throw unsent(host.server, error, reason);
    }
  }
}

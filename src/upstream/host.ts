import type { Clock } from "../core/clock.ts";
import type { AuditEvent } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import type { ClientAnswer } from "../core/inbound.ts";
import type { Validator } from "../core/ports.ts";
import type { Notice, SessionQuestion } from "../core/upstream.ts";
import type { Self } from "../core/self.ts";
import type { ListStore } from "../core/store.ts";
import type { BreakerOptions } from "./breaker.ts";
import type { StartQueue } from "./start-queue.ts";
import type { Implementation } from "../mcp/meta.ts";
import type { UpstreamLimits } from "./link/link.ts";
import type { ServerOptions } from "./options.ts";
import type { Reaper } from "./process/reaper.ts";
import type { Patience } from "./process/tree.ts";

/** Times that nobody configures; tests shorten them. In ms. */
export type Tuning = {
  readonly breaker: BreakerOptions;
  readonly patience: Patience;
  /** From the start of an instance to the end of its handshake; npx may have to download first. */
  readonly start: number;
  /**
   * How long a server may be silent when it is asked which era it speaks, before it is asked for the legacy handshake
   * too.
   */
  readonly probe: number;
  /** Between the notice that a list has changed and reading it anew. */
  readonly debounce: number;
};

/** What all servers of one set share. */
export type SetHost = Pick<Validator, "refuses" | "refusesOutput" | "unchecked"> & {
  readonly limits: UpstreamLimits;
  /** The same for a whole answer, and for one to a request of the gateway's own. */
  readonly answerLimits: UpstreamLimits;
  readonly ownLimits: UpstreamLimits;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lists: ListStore;
  readonly self: Self;
  /** Value of MCPGW_RUN: names this run of the gateway in the environment of every child. */
  readonly run: string;
  /** The gateway, as servers see it. */
  readonly client: Implementation;
  readonly record: (event: AuditEvent) => void;
  /** Values that no log may show, as they are now. */
  readonly secrets: () => readonly string[];
  readonly changed: () => void;
  /** What only some caller's instance offers has changed. */
  readonly callerChanged: () => void;
  /** Whether the gateway is about to stop: a server that ends then is not started again. */
  readonly retired: () => boolean;
  /** Passes on a notification of a server that belongs to no request. */
  readonly notice: (notice: Notice) => void;
  /**
   * Asks the client of a session a question that the session's instance asks outside of any call; the signal withdraws
   * it.
   */
  readonly askSession: (question: SessionQuestion, signal: AbortSignal) => Promise<ClientAnswer>;
  /** Whether that client can be asked now. */
  readonly canAskSession: (session: string, owner: string) => boolean;
  /** For programs that are started only to be listed; that of all sets. */
  readonly starts: StartQueue;
  /** The reaper, which is started with the first child. */
  readonly reaper: () => Reaper;
  readonly tuning: Tuning;
};

/**
 * How one server is run, as it is configured at the moment. A reload replaces both parts under what goes on, so read
 * them when they are needed.
 */
export type Terms = { readonly options: ServerOptions; readonly host: SetHost };

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

/** Times that cannot be configured; tests shorten them. In ms. */
export type Tuning = {
  readonly breaker: BreakerOptions;
  readonly patience: Patience;
  /** Maximum time from the start of an instance to the end of its handshake; npx may have to download first. */
  readonly start: number;
  /** How long a server may be silent after being asked for its era, before the legacy handshake is tried too. */
  readonly probe: number;
  /** Time between the notification that a list has changed and reading it again. */
  readonly debounce: number;
};

/** What all servers of a set share. */
export type SetHost = Pick<Validator, "refuses" | "refusesOutput" | "unchecked"> & {
  readonly limits: UpstreamLimits;
  /** Limits for a whole answer, and for an answer to one of the gateway's own requests. */
  readonly answerLimits: UpstreamLimits;
  readonly ownLimits: UpstreamLimits;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lists: ListStore;
  readonly self: Self;
  /** The value of MCPGW_RUN, which marks all children of this run of the gateway. */
  readonly run: string;
  /** The gateway's own client information, as servers see it. */
  readonly client: Implementation;
  readonly record: (event: AuditEvent) => void;
  /** The current secret values, which no log may show. */
  readonly secrets: () => readonly string[];
  readonly changed: () => void;
  /** Called when the tools of a caller's instance have changed. */
  readonly callerChanged: () => void;
  /** Whether the gateway is shutting down; a server that ends now is not restarted. */
  readonly retired: () => boolean;
  /** Passes on a server's notification that belongs to no request. */
  readonly notice: (notice: Notice) => void;
  /** Asks a session's client a question that its instance asked outside of any call; the signal withdraws it. */
  readonly askSession: (question: SessionQuestion, signal: AbortSignal) => Promise<ClientAnswer>;
  readonly canAskSession: (session: string, owner: string) => boolean;
  /** The queue of programs that are started only to list their tools; shared by all sets. */
  readonly starts: StartQueue;
  /** The reaper process, started with the first child. */
  readonly reaper: () => Reaper;
  readonly tuning: Tuning;
};

/** The current configuration of one server. A reload replaces both members, so read them when they are needed. */
export type Terms = { readonly options: ServerOptions; readonly host: SetHost };

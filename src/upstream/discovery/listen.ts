import { changedKey, type ListName, lists } from "../../core/lists.ts";
import { isObject } from "../../mcp/message.ts";
import { sleep } from "../../core/wait.ts";
import { Backoff } from "../backoff.ts";
import type { LinkHost } from "../link/link.ts";
import type { Instance } from "../instances/pool.ts";
import { query } from "../link/query.ts";

/** What a modern server is asked to tell (2026-07-28, subscriptions). */
type ListenFilter = Readonly<Record<string, true | readonly string[]>>;

/** A request that listens for as long as its signal lets it. */
export type ListenRequest = {
  readonly instance: Instance;
  readonly client: Pick<LinkHost, "client">;
  readonly filter: ListenFilter;
  /** Capabilities of the client that it listens for; none where it is the gateway itself. */
  readonly declares?: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  /** The server has begun to tell; `filter` is what it honours, `again` that it was interrupted before. */
  acknowledged(filter: Readonly<Record<string, unknown>>, again: boolean): void;
  heard(method: string, params: string): void;
};

/** On stdio a server ends a listening request as a client would. */
const ending = "notifications/cancelled";
const acknowledgement = "notifications/subscriptions/acknowledged";

/** The filter for the lists that a server says it tells of; null when it tells of none. */
export function listenFilter(
  capabilities: Readonly<Record<string, unknown>>,
  has: readonly ListName[],
): ListenFilter | null {
  const tells = has.filter((list) => {
    const declared = capabilities[lists[list].capability];
    return isObject(declared) && declared.listChanged === true;
  });
  if (tells.length === 0) return null;
  return Object.fromEntries(tells.map((list) => [changedKey(lists[list].capability), true] as const));
}

/** Listens and listens again when the server ends it; stops when the server refuses or its link ends. Never throws. */
export async function holdListen(listening: ListenRequest): Promise<void> {
  const { instance, client, filter, declares, signal } = listening;
  const backoff = new Backoff();
  let again = false;
  while (!signal.aborted && !instance.link.over) {
    backoff.begin();
    let known = false;
    const round = new AbortController();
    const notified = (method: string, params: string): void => {
      if (method === ending) return round.abort();
      if (method !== acknowledgement) return listening.heard(method, params);
      known = true;
      listening.acknowledged(honoured(params), again);
      again = true;
    };
    const answer = await query(instance.link, client, {
      method: "subscriptions/listen",
      peer: instance.peer,
      timeout: null,
      params: { notifications: filter },
      declares,
      notified,
      signal: AbortSignal.any([signal, round.signal]),
    }).catch(() => null);
    if (answer?.kind === "error" && !known) return;
    await sleep(backoff.next(null), signal);
  }
}

function honoured(params: string): Record<string, unknown> {
  const parsed: unknown = JSON.parse(params);
  const filter = isObject(parsed) ? parsed.notifications : null;
  return isObject(filter) ? filter : {};
}

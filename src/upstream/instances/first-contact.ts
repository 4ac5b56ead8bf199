import { Failure } from "../../core/failure.ts";
import type { Era } from "../../core/inbound.ts";
import { within } from "../../core/wait.ts";
import { HttpFailure, isNotServerFault, isInconclusive, unsent } from "../faults.ts";
import { discover, type Discovered, greetModern, initialize } from "../link/handshake.ts";
import type { Greeting, Instance, Link } from "../link/link.ts";
import type { LinkKind } from "../transports/index.ts";

/**
 * The eras that a server speaks; `sse`: its legacy transport is the HTTP+SSE pair of 2024-11-05. A modern server need
 * not say whether it also speaks legacy, so `legacy` is null until a caller needs to know.
 */
export type SpokenEras = { readonly modern: boolean; readonly legacy: boolean | null; readonly sse: boolean };

/** A server after the first handshake. */
export type Met = Instance & { readonly speaks: SpokenEras };

export type FirstContact = {
  readonly protocol: "auto" | "modern" | "legacy";
  readonly http: boolean;
  /** Opens a new link. */
  open(kind: LinkKind): Link;
  /** Maximum time for a start including its handshake, ms. */
  readonly startMs: number;
  /** Maximum time for an answer from a server that has started, ms. */
  readonly probeMs: number;
  /** The result of an earlier probe, for servers whose probe needs a link of its own. */
  recall(): SpokenEras | null;
  save(speaks: SpokenEras | null): void;
};

const only = {
  modern: { modern: true, legacy: false, sse: false },
  legacy: { modern: false, legacy: true, sse: false },
  sse: { modern: false, legacy: true, sse: true },
} as const satisfies Record<string, SpokenEras>;

/** The statuses of an endpoint without streamable HTTP (2025-11-25, backwards compatibility). */
const oldStatuses = new Set([400, 404, 405]);

/** Finds out which eras a server speaks and greets it in the newer one; throws what is wrong with the server. */
export function meet(contact: FirstContact): Promise<Met> {
  if (contact.protocol === "modern") return greetAs(contact, only.modern);
  if (contact.protocol === "legacy") return greetAs(contact, only.legacy);
  return contact.http ? meetHttp(contact) : meetProbed(contact);
}

/** Does a handshake on a new link. An endpoint that accepts no POST may be the stream of the old transport. */
async function greet(contact: FirstContact, shake: (link: Link) => Promise<Omit<Met, "link">>): Promise<Met> {
  const link = contact.open("usual");
  try {
    return { link, ...(await shake(link)) };
  } catch (error) {
    await link.close();
    if (contact.http && isOld(error)) return meetOld(contact, error);
    throw error;
  }
}

function greetAs(contact: FirstContact, speaks: SpokenEras): Promise<Met> {
  const { protocol, startMs } = contact;
  return greet(contact, async (link) => ({
    peer: await (speaks.modern ? greetModern(link, startMs, protocol !== "auto") : initialize(link, startMs)),
    speaks,
  }));
}

/** HTTP: requests are independent, so the link that was probed is also used afterwards. */
function meetHttp(contact: FirstContact): Promise<Met> {
  const { startMs } = contact;
  return greet(contact, async (link) => {
    const found = await discover(link, startMs);
    if (found.era === "legacy") return { peer: await initialize(link, startMs), speaks: only.legacy };
    return { peer: found.greeting, speaks: { ...only.modern, legacy: found.legacy || null } };
  });
}

const isOld = (error: unknown): error is HttpFailure => error instanceof HttpFailure && oldStatuses.has(error.status);

/** Tries the pair of endpoints of 2024-11-05. If the server has none, its first failure is more informative. */
async function meetOld(contact: FirstContact, first: HttpFailure): Promise<Met> {
  const link = contact.open("sse");
  try {
    return { link, peer: await initialize(link, contact.startMs), speaks: only.sse };
  } catch {
    await link.close();
    throw first;
  }
}

/** Processes and sockets: some legacy servers exit on an unknown message, so the probe uses an instance of its own. */
async function meetProbed(contact: FirstContact): Promise<Met> {
  const known = contact.recall();
  const speaks = known ?? (await probe(contact));
  try {
    const met = await greetAs(contact, speaks);
    // Saved only now, because a program that cannot run exits just like one that does not know the probe.
    if (!known) contact.save(speaks);
    return met;
  } catch (error) {
    // The server may have been replaced by one of another era, which can fail in any way.
    if (known) contact.save(null);
    throw error;
  }
}

async function probe(contact: FirstContact): Promise<SpokenEras> {
  const { startMs, probeMs } = contact;
  const begun = performance.now();
  const found = await onProbe(contact, (link) => discoverStarting(link, contact));
  if (found?.era !== "modern") return only.legacy;
  // Starting again will take about as long.
  const limit = Math.min(startMs, probeMs + 2 * (performance.now() - begun));
  return { ...only.modern, legacy: found.legacy || (await speaksLegacy(contact, limit)) };
}

/** Returns what a server that may still be starting says about its eras; null for an old server. */
async function discoverStarting(link: Link, contact: FirstContact): Promise<Discovered | null> {
  const { startMs, probeMs } = contact;
  let shook = false;
  const asked = discover(link, startMs).catch((error: unknown) => {
    // A process that exits is an old server; one that was never reached, or never says anything, has shown nothing.
    const code = error instanceof Failure ? error.code : null;
    const unreached = (code === "upstream-down" && link.pid === null) || isNotServerFault(error);
    if (unreached || (code === "timeout" && !shook)) throw error;
    return null;
  });
  // A silent server is either old or still starting; if it completes the handshake, it has started.
  const shaken = async () => {
    const begun = performance.now();
    shook = await speaksLegacy(contact, startMs);
    if (!shook) return asked;
    return within(asked, probeMs + performance.now() - begun, null, () => null);
  };
  return within(asked, probeMs, null, () => Promise.race([asked, shaken()]));
}

/**
 * Resolves to whether a server completes the legacy handshake within `limit` ms. Uses a link of its own, because a
 * server may stay in the era of the first request on a link, or fall silent after one that it does not know. Throws if
 * nothing was found out.
 */
export function speaksLegacy(contact: FirstContact, limit: number): Promise<boolean> {
  return onProbe(contact, (link) =>
    initialize(link, limit).then(
      () => true,
      (error: unknown) => {
        if (isInconclusive(error)) throw error;
        return false;
      },
    ),
  );
}

async function onProbe<T>({ open }: FirstContact, ask: (link: Link) => Promise<T>): Promise<T> {
  const link = open("probe");
  try {
    return await ask(link);
  } finally {
    await link.close();
  }
}

/** Greets a server of known era on another link; on failure, closes the link and throws that the call was not sent. */
export async function greetAgain(link: Link, era: Era, ms: number): Promise<Greeting> {
  try {
    return await (era === "modern" ? greetModern : initialize)(link, ms);
  } catch (error) {
    await link.close();
    throw unsent(link.host.server, error);
  }
}

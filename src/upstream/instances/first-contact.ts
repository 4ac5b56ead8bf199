import { Failure } from "../../core/failure.ts";
import type { Era } from "../../core/inbound.ts";
import { within } from "../../core/wait.ts";
import { HttpFailure, isInnocent, saysNothing, unsent } from "../faults.ts";
import { discover, type Discovered, greetModern, initialize } from "../link/handshake.ts";
import type { Greeting, Instance, Link } from "../link/link.ts";
import type { LinkKind } from "../transports/index.ts";

/**
 * The eras that a server speaks; `sse`: its legacy transport is the HTTP+SSE pair of 2024-11-05. A modern server need
 * not say whether it speaks legacy too, so `legacy` is null until somebody needs to know.
 */
export type SpokenEras = { readonly modern: boolean; readonly legacy: boolean | null; readonly sse: boolean };

/** A server after the first handshake. */
export type Met = Instance & { readonly speaks: SpokenEras };

/** What the first contact with a server needs. */
export type FirstContact = {
  readonly protocol: "auto" | "modern" | "legacy";
  readonly http: boolean;
  /** Opens a new link. */
  open(kind: LinkKind): Link;
  /** Most milliseconds for a start with its handshake. */
  readonly startMs: number;
  /** Most milliseconds for an answer of a server that has started. */
  readonly probeMs: number;
  /** What an earlier probe found out; only for servers that cannot be asked on the link that is used afterwards. */
  recall(): SpokenEras | null;
  save(speaks: SpokenEras | null): void;
};

const only = {
  modern: { modern: true, legacy: false, sse: false },
  legacy: { modern: false, legacy: true, sse: false },
  sse: { modern: false, legacy: true, sse: true },
} as const satisfies Record<string, SpokenEras>;

/** The statuses of an endpoint that serves no streamable HTTP (2025-11-25, backwards compatibility). */
const oldStatuses = new Set([400, 404, 405]);

/** Finds out which eras a server speaks, and greets it in the newer one; throws what is wrong with the server. */
export function meet(contact: FirstContact): Promise<Met> {
  if (contact.protocol === "modern") return greetAs(contact, only.modern);
  if (contact.protocol === "legacy") return greetAs(contact, only.legacy);
  return contact.http ? meetHttp(contact) : meetProbed(contact);
}

/** Does a handshake on a new link. An endpoint that takes no POST may be the stream of the old transport. */
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

/** HTTP: requests are independent, so the link that asks for the era is used afterwards too. */
function meetHttp(contact: FirstContact): Promise<Met> {
  const { startMs } = contact;
  return greet(contact, async (link) => {
    const found = await discover(link, startMs);
    if (found.era === "legacy") return { peer: await initialize(link, startMs), speaks: only.legacy };
    return { peer: found.greeting, speaks: { ...only.modern, legacy: found.legacy || null } };
  });
}

const isOld = (error: unknown): error is HttpFailure => error instanceof HttpFailure && oldStatuses.has(error.status);

/** The pair of endpoints of 2024-11-05. If a server has none, its first failure says more. */
async function meetOld(contact: FirstContact, first: HttpFailure): Promise<Met> {
  const link = contact.open("sse");
  try {
    return { link, peer: await initialize(link, contact.startMs), speaks: only.sse };
  } catch {
    await link.close();
    throw first;
  }
}

/**
 * Processes and sockets: some legacy servers end at a message they do not know, so an instance is asked that is not
 * used.
 */
async function meetProbed(contact: FirstContact): Promise<Met> {
  const known = contact.recall();
  const speaks = known ?? (await probe(contact));
  try {
    const met = await greetAs(contact, speaks);
    // Not before: a program that cannot run ends like one that knows nothing of the probe.
    if (!known) contact.save(speaks);
    return met;
  } catch (error) {
    // The server may have been replaced by one that speaks something else, which may fail in any way.
    if (known) contact.save(null);
    throw error;
  }
}

async function probe(contact: FirstContact): Promise<SpokenEras> {
  const { startMs, probeMs } = contact;
  const begun = performance.now();
  const found = await onProbe(contact, (link) => discoverStarting(link, contact));
  if (found?.era !== "modern") return only.legacy;
  // It will take about as long to start again.
  const limit = Math.min(startMs, probeMs + 2 * (performance.now() - begun));
  return { ...only.modern, legacy: found.legacy || (await speaksLegacy(contact, limit)) };
}

/** What a server that may have to start first says of its eras; null for an old one. */
async function discoverStarting(link: Link, contact: FirstContact): Promise<Discovered | null> {
  const { startMs, probeMs } = contact;
  let shook = false;
  const asked = discover(link, startMs).catch((error: unknown) => {
    // A process that ends is an old one; a server that was never reached, or never says anything, has shown nothing.
    const code = error instanceof Failure ? error.code : null;
    const unreached = (code === "upstream-down" && link.pid === null) || isInnocent(error);
    if (unreached || (code === "timeout" && !shook)) throw error;
    return null;
  });
  // A server is silent because it is old or because it is still starting. One that shakes hands has started.
  const shaken = async () => {
    const begun = performance.now();
    shook = await speaksLegacy(contact, startMs);
    if (!shook) return asked;
    return within(asked, probeMs + performance.now() - begun, null, () => null);
  };
  return within(asked, probeMs, null, () => Promise.race([asked, shaken()]));
}

/**
 * Whether a server does the legacy handshake within `limit` ms, found out on a link for this alone: a server may keep
 * to the era of the first request on each, or fall silent at one that it does not know. Throws where nothing was found
 * out.
 */
export function speaksLegacy(contact: FirstContact, limit: number): Promise<boolean> {
  return onProbe(contact, (link) =>
    initialize(link, limit).then(
      () => true,
      (error: unknown) => {
        if (saysNothing(error)) throw error;
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

/**
 * Does the handshake on a further link to a server whose era is known. If that fails, closes the link and throws what
 * those are told who wait for it to send their calls.
 */
export async function greetAgain(link: Link, era: Era, ms: number): Promise<Greeting> {
  try {
    return await (era === "modern" ? greetModern : initialize)(link, ms);
  } catch (error) {
    await link.close();
    throw unsent(link.host.server, error);
  }
}

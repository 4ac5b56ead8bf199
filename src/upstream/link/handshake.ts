import { thrownBy } from "../../core/attempt.ts";
import { isObject, objectIn } from "../../core/json.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { cut } from "../../core/text.ts";
import { maxDefinitionDepth, scan } from "../../mcp/scan.ts";
import { isLegacyRevision, latestLegacy, modernRevision } from "../../mcp/revisions.ts";
import { faults, HttpFailure, isNotServerFault, NoRevision, quoted, reasonOf } from "../faults.ts";
import type { Answer, Greeting, Instance, Link, LinkHost, Peer } from "./link.ts";
import { repeatIfLost, query } from "./query.ts";

const legacyPeer: Peer = { era: "legacy", revision: latestLegacy };
const modernPeer: Peer = { era: "modern", revision: modernRevision };

/** Maximum length of a server's capabilities, including extensions. */
const maxCapabilitiesLength = 64 * 1024;
/** Maximum length of a server's instructions that is passed on. */
const maxInstructionsLength = 4_096;

/** Maximum wait for the answer to a health check, ms. */
const maxHealthCheckMs = 10_000;

/** What the answer to `server/discover` means. */
export type Discovered =
  | { readonly era: "modern"; readonly greeting: Greeting; readonly legacy: boolean }
  /** `refused`: it refused to say, as even a modern server may; otherwise it named its revisions or sent no answer. */
  | { readonly era: "legacy"; readonly why: string; readonly refused: boolean };

/**
 * Performs the legacy handshake, with the capabilities that the link's owner declares. Throws `NoRevision` if there is
 * no revision in common, and as `Link.request` does. Other refusals, such as for too many sessions, say nothing about
 * the server's revisions.
 */
export async function initialize(link: Link, timeout: number): Promise<Greeting> {
  const { host } = link;
  const capabilities: unknown = JSON.parse(host.declares);
  const params = { protocolVersion: latestLegacy, capabilities, clientInfo: host.client() };
  const answer = await query(link, { method: "initialize", peer: legacyPeer, timeout, params });
  if (answer.kind === "error") {
    const why = `initialize: ${answer.code} ${quoted(answer.message, host.secrets())}`;
    throw isAboutEra(answer) ? new NoRevision(host.server, why) : faults.down(host.server, why);
  }
  const result = objectIn(answer.result);
  const revision = result.protocolVersion;
  if (revision === undefined) throw new NoRevision(host.server, "it names none");
  if (!isLegacyRevision(revision)) {
    throw new NoRevision(host.server, `it speaks the unknown revision ${quoted(textOf(revision), host.secrets())}`);
  }
  const peer: Peer = { era: "legacy", revision };
  await link.notify("notifications/initialized", null, peer);
  return greeting(peer, result);
}

/**
 * Asks a server which eras it speaks. A refusal means legacy, unless only the modern era has that refusal. Throws if
 * there is no common revision, and if credentials are refused or the server is down or broken, which says nothing about
 * the era.
 */
export async function discover(link: Link, timeout: number): Promise<Discovered> {
  const ask = () => query(link, { method: "server/discover", peer: modernPeer, timeout });
  let answer: Answer;
  try {
    answer = await ask();
    // A server may refuse the first request only to name its revisions.
    if (namesModern(answer)) answer = await ask();
  } catch (error) {
    if (!(error instanceof HttpFailure) || !isVerdict(error.status)) throw error;
    return { era: "legacy", why: reasonOf(error), refused: error.status >= 400 };
  }
  if (answer.kind === "error") return readRefusal(answer, link.host);
  const result = objectIn(answer.result);
  return read(result.supportedVersions, link.host, greeting(modernPeer, result));
}

/**
 * Greets a server that should be modern. If the operator says that it is (`sure`), it need not know `server/discover`.
 * Throws if the server is not modern, and as `Link.request` does.
 */
export async function greetModern(link: Link, timeout: number, sure = true): Promise<Greeting> {
  const found = await discover(link, timeout);
  if (found.era === "modern") return found.greeting;
  if (sure && found.refused) return ungreeted;
  throw faults.down(link.host.server, `it does not speak ${modernRevision} (${found.why})`);
}

/** The greeting of a modern server that did not describe itself. */
export const ungreeted: Greeting = { ...modernPeer, capabilities: null, instructions: null };

/** Codes with which a modern-only server refuses `initialize`; it may do so only because the `_meta` is missing. */
const eraCodes: ReadonlySet<number> = new Set([
  rpcCodes.invalidRequest,
  rpcCodes.methodNotFound,
  rpcCodes.invalidParams,
  rpcCodes.headerMismatch,
  rpcCodes.missingCapability,
  rpcCodes.unsupportedVersion,
]);

/** Reports whether a refusal of `initialize` is about revisions: by its code, or as it names the supported ones. */
const isAboutEra = ({ code, data }: Extract<Answer, { kind: "error" }>): boolean =>
  eraCodes.has(code) || (isObject(data) && Array.isArray(data.supported));

/** Reports whether a status without a JSON-RPC answer shows that the server does not know what it was asked. */
const isVerdict = (status: number): boolean =>
  status < 300 || (status >= 400 && status < 500 && ![401, 403, 408, 429].includes(status));

function namesModern(answer: Answer): boolean {
  if (answer.kind === "result" || answer.code !== rpcCodes.unsupportedVersion || !isObject(answer.data)) return false;
  return Array.isArray(answer.data.supported) && answer.data.supported.includes(modernRevision);
}

function readRefusal(answer: Extract<Answer, { kind: "error" }>, host: LinkHost): Discovered {
  const { code, message, data } = answer;
  if (code === rpcCodes.unsupportedVersion && isObject(data)) return read(data.supported, host, ungreeted);
  if (code === rpcCodes.headerMismatch || code === rpcCodes.missingCapability) {
    return { era: "modern", greeting: ungreeted, legacy: false };
  }
  return { era: "legacy", why: `server/discover: ${code} ${quoted(message, host.secrets())}`, refused: true };
}

function read(supported: unknown, { server, secrets }: LinkHost, greeting: Greeting): Discovered {
  const versions: unknown[] = Array.isArray(supported) ? supported : [];
  const legacy = versions.some(isLegacyRevision);
  if (versions.includes(modernRevision)) return { era: "modern", greeting, legacy };
  if (legacy || versions.length === 0) return { era: "legacy", why: "it names no modern revision", refused: !legacy };
  const spoken = quoted(versions.map(textOf).join(", "), secrets());
  throw faults.down(server, `no common protocol revision (it speaks ${spoken})`);
}

/** Returns a revision as the server names it: not every JSON value can be converted to a string. */
const textOf = (revision: unknown): string => (typeof revision === "string" ? revision : JSON.stringify(revision));

function greeting(peer: Peer, { capabilities, instructions }: Record<string, unknown>): Greeting {
  return {
    ...peer,
    capabilities: isObject(capabilities) ? bounded(capabilities) : {},
    instructions: typeof instructions === "string" ? cut(instructions, maxInstructionsLength) : null,
  };
}

/** Limits the capabilities, which every client gets: if a server declares too much, only the standard ones are kept. */
function bounded(capabilities: Record<string, unknown>): Record<string, unknown> {
  const text = JSON.stringify(capabilities);
  if (text.length <= maxCapabilitiesLength && !isDeep(text)) return capabilities;
  const { tools, prompts, resources, completions, logging } = capabilities;
  const standard = Object.entries({ tools, prompts, resources, completions, logging });
  return Object.fromEntries(standard.flatMap(([name, value]) => (isObject(value) ? [[name, {}]] : [])));
}

/** Reports whether a text nests deeper than official clients read; they reject the whole handshake. */
const isDeep = (text: string): boolean =>
  thrownBy(() => scan(text, { depth: maxDefinitionDepth, nodes: Infinity })) !== null;

/**
 * Checks that the server answers, even with an error, before the next check in `interval` ms; throws if it does not.
 * Returns what it now says about itself, or null if it does not say.
 */
export async function checkHealth({ link, peer }: Instance, interval: number): Promise<Greeting | null> {
  const modern = peer.era === "modern";
  const timeout = Math.min(interval, maxHealthCheckMs);
  const method = modern ? "server/discover" : "ping";
  const answer = await repeatIfLost(() => query(link, { method, peer, timeout })).catch((error: unknown) => {
    if (isNotServerFault(error)) return null;
    throw error;
  });
  // A server that fails or asks to wait has not said that it has changed.
  if (answer === null || (modern && answer.kind === "error" && answer.code === rpcCodes.internalError)) return peer;
  return modern && answer.kind === "result" ? greeting(peer, objectIn(answer.result)) : null;
}

import type { Self } from "../../core/self.ts";
import { childEnv } from "../process/child-env.ts";
import { openHttp } from "./http.ts";
import type { Link, LinkHost } from "../link/link.ts";
import type { OptionsOf, ServerOptions, TransportName } from "../options.ts";
import { openSse } from "./sse.ts";
import { type ChildSpec, openStdio } from "./stdio.ts";
import { openWebSocket } from "./websocket.ts";

/** What a child is given in addition to its options. */
export type ChildContext = Omit<ChildSpec, "argv" | "env" | "cwd"> & {
  readonly self: Self;
  readonly run: string;
};

/** The purpose of a link: `sse` uses the old pair of endpoints; `probe` only finds out which eras the server speaks. */
export type LinkKind = "usual" | "sse" | "probe";

/** How transports differ, apart from how they are opened. */
type Facts = {
  /** Requests are independent: one that hangs says nothing about the others, and a modern server needs no handshake. */
  readonly perRequest: boolean;
  /** Whether the transport supports only the legacy era. */
  readonly legacyOnly: boolean;
  /** Whether the server is part of the gateway: it keeps no data of callers and learns nothing about them. */
  readonly ours: boolean;
};

type Transport<Options> = Facts & {
  /** Throws `upstream-down` if a child cannot be started. */
  open(options: Options, host: LinkHost, child: ChildContext, kind: LinkKind): Link;
};

type Program = Pick<ChildSpec, "argv" | "env" | "cwd">;

function openChild({ env, ...program }: Program, host: LinkHost, { run, ...rest }: ChildContext): Link {
  // Unique in the whole run, across reloads too, because processes are found and ended by this mark.
  const instance = `${run}-${host.server}-${crypto.randomUUID()}`;
  return openStdio({ ...rest, ...program, env: childEnv(env, run, instance) }, host);
}

const usual: Facts = { perRequest: false, legacyOnly: false, ours: false };

/** All transports. A new one needs a file, its options, and an entry here. */
const transports = {
  stdio: {
    ...usual,
    open: ({ command, args, env, cwd }, host, child) =>
      openChild({ argv: [command, ...args], env, cwd: cwd ?? null }, host, child),
  },
  builtin: {
    ...usual,
    legacyOnly: true,
    ours: true,
    open: ({ builtin }, host, child) =>
      openChild({ argv: child.self.command("builtin", builtin), env: {}, cwd: null }, host, child),
  },
  http: {
    ...usual,
    perRequest: true,
    open: (options, host, _child, kind) =>
      kind === "sse"
        ? openSse(options, host)
        : openHttp({ ...options, getStream: options.getStream === "on" && kind !== "probe" }, host),
  },
  sse: { ...usual, legacyOnly: true, open: openSse },
  websocket: { ...usual, open: openWebSocket },
} satisfies { [Name in TransportName]: Transport<OptionsOf[Name]> };

/** Returns the transport of these options. */
export function transportOf(options: ServerOptions): TransportName {
  if ("url" in options) return options.transport;
  return "command" in options ? "stdio" : "builtin";
}

/** Returns the facts about the transport of these options. */
export const factsOf = (options: ServerOptions): Facts => transports[transportOf(options)];

/** Returns the configured era of a server; `auto` if the server is to be asked. */
export const protocolOf = (options: ServerOptions): ServerOptions["protocol"] =>
  factsOf(options).legacyOnly ? "legacy" : options.protocol;

/** Opens a new link to a server; throws `upstream-down` if a child cannot be started. */
export function openLink(options: ServerOptions, host: LinkHost, child: ChildContext, kind: LinkKind): Link {
  if ("url" in options) return transports[options.transport].open(options, host, child, kind);
  if ("command" in options) return transports.stdio.open(options, host, child);
  return transports.builtin.open(options, host, child);
}

import type { Self } from "../../core/self.ts";
import { childEnv } from "../process/child-env.ts";
import { openHttp } from "./http.ts";
import type { Link, LinkHost } from "../link/link.ts";
import type { HttpOptions, OptionsOf, ServerOptions, TransportName } from "../options.ts";
import { openSse } from "./sse.ts";
import { type ChildSpec, openStdio } from "./stdio.ts";
import { openWebSocket } from "./websocket.ts";

/** What a child is given besides its options. */
export type ChildContext = Omit<ChildSpec, "argv" | "env" | "cwd"> & {
  readonly self: Self;
  readonly run: string;
  /** Tells this child and its descendants from all others of the run. */
  readonly instance: string;
};

/** What a link is for: `sse` goes by the old pair of endpoints, `probe` is thrown away. */
export type As = "usual" | "sse" | "probe";

/** How transports differ, besides how they are opened. */
type Facts = {
  /** Requests do not depend on each other: one that hangs says nothing of the rest, a modern server needs no greeting. */
  readonly perRequest: boolean;
  /** The modern era is not spoken over it. */
  readonly legacyOnly: boolean;
  /** The server is ours: it holds nothing of a caller, and is told of none. */
  readonly ours: boolean;
};

type Transport<Options> = Facts & {
  /** Throws `upstream-down` when a child cannot be started. */
  open(options: Options, host: LinkHost, child: ChildContext, as: As): Link;
};

const endpointOf = ({ url, headers, proxy }: HttpOptions) => ({ url, headers, proxy: proxy ?? null });

type Program = Pick<ChildSpec, "argv" | "env" | "cwd">;

const openChild = ({ env, ...program }: Program, host: LinkHost, { run, instance, ...rest }: ChildContext): Link =>
  openStdio({ ...rest, ...program, env: childEnv(env, run, instance) }, host);

const usual: Facts = { perRequest: false, legacyOnly: false, ours: false };

/** Every transport: a new one is its file, its options and a line here. */
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
    open: (options, host, _child, as) =>
      as === "sse"
        ? openSse(endpointOf(options), host)
        : openHttp({ ...endpointOf(options), getStream: options.getStream === "on" && as !== "probe" }, host),
  },
  sse: { ...usual, legacyOnly: true, open: (options, host) => openSse(endpointOf(options), host) },
  websocket: { ...usual, open: (options, host) => openWebSocket(endpointOf(options), host) },
} satisfies { [Name in TransportName]: Transport<OptionsOf[Name]> };

/** Which transport these options are for. */
export function transportOf(options: ServerOptions): TransportName {
  if ("url" in options) return options.transport;
  return "command" in options ? "stdio" : "builtin";
}

export const factsOf = (options: ServerOptions): Facts => transports[transportOf(options)];

/** Opens a new way to a server; throws `upstream-down` when a child cannot be started. */
export function openLink(options: ServerOptions, host: LinkHost, child: ChildContext, as: As): Link {
  if ("url" in options) return transports[options.transport].open(options, host, child, as);
  if ("command" in options) return transports.stdio.open(options, host, child);
  return transports.builtin.open(options, host, child);
}

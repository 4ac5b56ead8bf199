import type { Self } from "../core/self.ts";
import { childEnv } from "./child-env.ts";
import { openHttp } from "./http.ts";
import type { Link, LinkHost } from "./link.ts";
import type { ServerOptions } from "./options.ts";
import { openSse } from "./sse.ts";
import { type ChildSpec, openStdio } from "./stdio.ts";
import { openWebSocket } from "./websocket.ts";

export type TransportName = "stdio" | "http" | "sse" | "websocket" | "builtin";

/** Which kind of server these options describe. */
export function transportOf(options: ServerOptions): TransportName {
  if ("url" in options) return options.transport;
  return "command" in options ? "stdio" : "builtin";
}

/** What a child is given besides its options. */
export type ChildContext = Omit<ChildSpec, "argv" | "env" | "cwd"> & {
  readonly self: Self;
  readonly run: string;
  /** Tells this child and its descendants from all others of the run. */
  readonly instance: string;
};

/** Opens a new way to a server, `sse` by the old pair of endpoints; throws `upstream-down` when a child cannot be started. */
export function openLink(options: ServerOptions, host: LinkHost, child: ChildContext, sse: boolean): Link {
  if ("url" in options) {
    const { url, headers, proxy = null, transport, getStream } = options;
    if (transport === "websocket") return openWebSocket({ url, headers, proxy }, host);
    if (transport === "sse" || sse) return openSse({ url, headers, proxy }, host);
    return openHttp({ url, headers, proxy, getStream: getStream === "on" }, host);
  }
  const { self, run, instance, ...rest } = child;
  const program =
    "command" in options
      ? {
          argv: [options.command, ...options.args],
          cwd: options.cwd ?? null,
          env: childEnv(options.env, run, instance),
        }
      : { argv: self.command("builtin", options.builtin), cwd: null, env: childEnv({}, run, instance) };
  return openStdio({ ...rest, ...program }, host);
}

/** The values of a server's configuration that must never be shown. */
export function secretsOf(options: ServerOptions): string[] {
  if ("url" in options) return Object.values(options.headers);
  return "command" in options ? Object.values(options.env) : [];
}

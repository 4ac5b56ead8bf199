import { stdioPrincipal } from "../authn/keyless.ts";
import type { Keyring } from "../authn/keyring.ts";
import type { AuthOptions } from "../authn/options.ts";
import type { Flags } from "../config/paths.ts";
import { codeOf } from "../core/error-text.ts";
import { asFailure } from "../core/failure.ts";
import type { Logger } from "../core/log.ts";
import { localSource } from "../core/principal.ts";
import type { Self } from "../core/self.ts";
import { within } from "../core/wait.ts";
import { identify, type Caller } from "../gateway/call-by-name.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { encodeLine } from "../mcp/lines.ts";
import { headroom } from "../mcp/message.ts";
import { McpConnection } from "../serve/connection.ts";
import { type Outlet, sendOrDrop } from "../serve/queue-limits.ts";
import { embeddedChains } from "../store/open.ts";
import { boot } from "./boot.ts";
import { openInstallation } from "./installation.ts";
import type { Stores } from "./stores.ts";
import { readLines, reportAbandoned, type Streams } from "./stdio.ts";
import { openLog } from "./own-log.ts";
import { guardProcess, prepareProcess } from "./process.ts";

type Served = Streams & {
  /** The API key from the parent process; null if there is none. */
  readonly key: string | null;
  /** How long to wait for responses after standard input has ended, ms. */
  readonly patience: number;
};

/** Serves one stdio client with a gateway inside this process, which writes an audit chain of its own. */
export async function serveEmbedded(
  flags: Flags,
  self: Self,
  { key, patience, output, asked: stopped }: Served,
): Promise<number> {
  prepareProcess(self);
  const installation = openInstallation("serve", flags);
  const log = openLog(installation.loaded.config.log);
  guardProcess();
  const unread = new AbortController();
  // A client that no longer reads has left, which is not a failure. Other processes may still hold standard input open.
  const left = new AbortController();
  output.onFailure((error) => (codeOf(error) === "EPIPE" ? left.abort() : unread.abort(error.message)));
  const over = AbortSignal.any([stopped, unread.signal]);
  const parent = (gateway: Gateway, { keyring }: Stores): Promise<Caller> =>
    parentCaller(gateway, keyring, installation.loaded.config.auth, key);
  const booted = await boot({ installation, self, log, chains: embeddedChains, admit: parent });
  const { engine } = booted;
  let watch: Timer | undefined;
  try {
    const outlet: Outlet = {
      // There is only one client, so queued bytes need not be counted per owner.
      owner: "",
      queued: () => output.queued,
      put: (message) => output.write(encodeLine(message)),
      close: (why) => unread.abort(why),
    };
    const connection = new McpConnection({
      current: engine.current,
      running: engine.running,
      traffic: engine.traffic,
      ...(await parent(engine.current(), engine.stores)),
      scope: null,
      send: (message, must) => sendOrDrop(outlet, message, must, engine),
    });
    watch = watchKeys(engine.stores.keyring, log);
    // The connection refuses a line that is too long under its id, like any other bad message.
    const receive = (line: string): void => void connection.receive(line);
    const takers = { onLine: receive, onOverflow: receive };
    const most = engine.current().caps.body + headroom;
    const endless = await readLines(most, takers, AbortSignal.any([over, left.signal]));
    if (endless !== null) unread.abort(endless);
    // A client that has closed its own end may still read responses. A call cut off by a signal gets an error response.
    const giveUp = left.signal.aborted ? () => {} : reportAbandoned;
    await (over.aborted ? engine.finish(0) : within(connection.answered(), patience, null, giveUp));
    connection.close();
    await engine.finish(patience);
  } finally {
    clearInterval(watch);
    await booted.close();
    log.flush();
  }
  if (!unread.signal.aborted) return 0;
  process.stderr.write(`mcpgw: the connection was ended: ${unread.signal.reason}\n`);
  return 1;
}

/** How often to check for keys changed by other processes, ms. */
const keyPollInterval = 1_000;

/** Polls for revocations and freezes, because another process that makes them does not notify this one. */
export function watchKeys(keyring: Keyring, log: Logger): Timer {
  const look = () => {
    try {
      keyring.refresh();
    } catch (error) {
      log.warn("cannot check whether keys were revoked", { cause: String(error) }, "keys");
    }
  };
  return setInterval(look, keyPollInterval).unref();
}

/** Returns the parent process as a caller, by its key or else by `auth.stdio`. Throws if neither identifies it. */
async function parentCaller(
  gateway: Gateway,
  keyring: Keyring,
  { stdio, type }: AuthOptions,
  key: string | null,
): Promise<Caller> {
  const vouched = key === null && stdio ? stdioPrincipal(stdio, keyring) : null;
  const credentials = key === null ? [] : [key];
  const controller = new AbortController();
  const caller = { source: localSource("stdio"), credentials, vouched, controller };
  if (key === null && !vouched && type === "api-key") {
    throw new Error("there is no caller to serve: set MCPGW_API_KEY, or name the parent process in auth.stdio");
  }
  try {
    await identify(gateway, caller, "initialize");
  } catch (error) {
    const { message } = asFailure(error);
    throw new Error(key === null ? message : `MCPGW_API_KEY: ${message}`, { cause: error });
  }
  return caller;
}

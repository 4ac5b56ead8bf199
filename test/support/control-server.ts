import { afterEach, beforeEach } from "bun:test";
import { connect } from "../../src/control/client.ts";
import { type ControlOptions, type ControlServer, listen } from "../../src/control/server.ts";
import { silent } from "../../src/core/log.ts";
import { TempDir } from "./temp-dir.ts";
import { type Overrides, sampleHandlers } from "./control-answers.ts";

/** Listens on a control socket with fixed answers, but for these handlers and options. */
export const listenWith = (path: string, handlers: Overrides = {}, more: Partial<ControlOptions> = {}) =>
  listen({
    path,
    version: "1.2.3",
    handlers: sampleHandlers(handlers),
    adminGroup: "nobody-admin",
    readGroup: "nobody-read",
    tunnelLine: () => 8 << 20,
    log: silent,
    ...more,
  });

/** A control server with these handlers, which is gone when the scope ends; `open` connects to it. */
export async function served(handlers: Overrides) {
  const at = new TempDir();
  const path = at.path("control.sock");
  const server = await listenWith(path, handlers);
  return {
    open: () => connect(path, { version: "1" }),
    [Symbol.dispose]() {
      server.close();
      at[Symbol.dispose]();
    },
  };
}

/** For each test of a file: a directory, and in it a control socket for the server that `start` makes; both go. */
export function serverPerTest() {
  let at: TempDir;
  let server: ControlServer | null = null;
  const stop = (): void => {
    server?.close();
    server = null;
  };
  beforeEach(() => void (at = new TempDir()));
  afterEach(() => {
    stop();
    at[Symbol.dispose]();
  });
  const socket = (): string => at.path("control.sock");
  const start = async (handlers: Overrides = {}, more: Partial<ControlOptions> = {}): Promise<void> => {
    server = await listenWith(socket(), handlers, more);
  };
  return { at: () => at, socket, start, stop };
}

import { afterEach, beforeEach } from "bun:test";
import { connect } from "../../src/control/client.ts";
import { type ControlOptions, type ControlServer, listen } from "../../src/control/server.ts";
import { silent } from "../../src/core/log.ts";
import { TempDir } from "./temp-dir.ts";
import { type Overrides, sampleHandlers } from "./control-answers.ts";
import { until } from "./until.ts";

/** Listens on a control socket with fixed answers, except for these handlers and options. */
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

/** Starts a control server with these handlers, which stops when the scope ends; `open` connects to it. */
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

/** Creates, for each test of a file, a directory with a control socket for the server that `start` makes. */
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
  return { at: () => at, socket, start, stop, raw: () => rawPeer(socket()) };
}

type Told = { readonly id: number | null; readonly error?: { readonly message: string } };

/** A raw connection, for messages that the client would never send. */
async function rawPeer(unix: string) {
  let text = "";
  let closed = false;
  let waiting = Buffer.alloc(0);
  const flush = () => void (waiting = waiting.subarray(peer.write(waiting)));
  const peer = await Bun.connect({
    unix,
    socket: {
      data: (_socket, chunk) => void (text += chunk.toString()),
      drain: () => flush(),
      close: () => void (closed = true),
    },
  });
  const lines = () => text.split("\n").slice(0, -1);
  return {
    send(line: string) {
      waiting = Buffer.concat([waiting, Buffer.from(line)]);
      flush();
    },
    lines,
    /** Resolves to the answers once there are `count`. */
    answers: async (count: number): Promise<Told[]> =>
      (await until(() => (lines().length < count ? null : lines()), `${count} answers`)).map(
        (line) => JSON.parse(line) as Told,
      ),
    closed: () => closed,
    pause: () => peer.pause(),
    resume: () => peer.resume(),
    end: () => peer.end(),
  };
}

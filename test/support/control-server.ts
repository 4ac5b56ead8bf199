import { connect } from "../../src/control/client.ts";
import { type ControlOptions, listen } from "../../src/control/server.ts";
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

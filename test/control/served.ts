import { connect } from "../../src/control/client.ts";
import { listen } from "../../src/control/server.ts";
import { silent } from "../../src/core/log.ts";
import { TempDir } from "../support/temp-dir.ts";
import { type Overrides, sampleHandlers } from "./sample.ts";

/** A control server with these handlers, which is gone when the scope ends; `open` connects to it. */
export async function served(handlers: Overrides) {
  const at = new TempDir();
  const path = at.path("control.sock");
  const groups = { adminGroup: "nobody-admin", readGroup: "nobody-read" };
  const server = await listen({ path, version: "1", handlers: sampleHandlers(handlers), ...groups, log: silent });
  return {
    open: () => connect(path, { version: "1" }),
    [Symbol.dispose]() {
      server.close();
      at[Symbol.dispose]();
    },
  };
}

// A control server with fixed answers, in a process of its own: a client must not descend from the daemon.
import { silent } from "../../src/core/log.ts";
import { Refusal } from "../../src/control/refusal.ts";
import { listen } from "../../src/control/server.ts";
import { records, sampleHandlers } from "./sample.ts";

const [path = "", mode = "ends"] = process.argv.slice(2);

const handlers = sampleHandlers({
  async *tail(_input, { signal }) {
    if (mode === "ends") yield* records;
    if (mode === "stays") await new Promise((resolve) => signal.addEventListener("abort", resolve));
  },
  "servers.show": ({ id }, ctx) => {
    if (id === "nope") throw new Refusal("not-found", 'there is no server "nope"');
    return sampleHandlers()["servers.show"]({ id }, ctx);
  },
});

const server = await listen({
  path,
  version: "0.1.0",
  handlers,
  adminGroup: "mcpgw-admin",
  readGroup: "mcpgw-audit",
  log: silent,
});
process.on("SIGTERM", () => {
  server.close();
  process.exit(0);
});
console.log("ready");

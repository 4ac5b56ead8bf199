import type { Handlers } from "../../control/contract.ts";
import { lossText } from "../../gateway/revocation.ts";
import { encodeLine } from "../../mcp/lines.ts";
import { McpConnection } from "../../serve/connection.ts";
import { sendWithin } from "../../serve/queue-limits.ts";
import type { Engine } from "../engine.ts";
import { controlCaller, whoIs } from "./viewer.ts";

/** Serves MCP to the holder of a key, or to an administrator (SEMANTICS §4). It ends when the key is revoked. */
export function attachTo(engine: Engine): Handlers["attach"] {
  const { current, running, traffic, stores } = engine;
  return async (ctx, tunnel) => {
    const caller = controlCaller(ctx, stores.keyring);
    const { revoked } = await whoIs(current(), caller, "initialize");
    const connection: McpConnection = new McpConnection({
      current,
      running,
      traffic,
      ...caller,
      scope: null,
      send: sendWithin(
        {
          queued: () => tunnel.queued,
          write: (message) => void tunnel.send(encodeLine(message).slice(0, -1)),
          end(why) {
            connection.close(why);
            tunnel.close(why);
          },
        },
        engine,
      ),
    });
    tunnel.onLine((line) => void connection.receive(line));
    const unwatch = connection.closeOnLoss(revoked, () => tunnel.cutOff(lossText(revoked)));
    tunnel.onClose(() => {
      unwatch();
      connection.close();
    });
  };
}

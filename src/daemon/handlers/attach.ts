import type { Handlers } from "../../control/contract.ts";
import { farewell } from "../../control/messages.ts";
import { lossText } from "../../gateway/revocation.ts";
import { encodeLine } from "../../mcp/lines.ts";
import { McpConnection } from "../../serve/connection.ts";
import { leftUnread, type Outlet, sendOrDrop } from "../../serve/queue-limits.ts";
import type { Engine } from "../engine.ts";
import { controlCaller, whoIs } from "./viewer.ts";

/** Serves MCP to the holder of a key, or to an administrator. The connection ends when the key is revoked. */
export function attachTo(engine: Engine): Handlers["attach"] {
  const { current, running, traffic, stores } = engine;
  return async (ctx, tunnel) => {
    const caller = controlCaller(ctx, stores.keyring);
    const { id: owner, revoked } = await whoIs(current(), caller, "initialize");
    const outlet: Outlet = {
      owner,
      queued: () => tunnel.queued,
      put: (message) => void tunnel.send(encodeLine(message).slice(0, -1)),
      close(why) {
        connection.close(why);
        tunnel.close(why);
      },
    };
    const send = (message: string, must: boolean): void => sendOrDrop(outlet, message, must, engine);
    const connection = new McpConnection({ current, running, traffic, ...caller, scope: null, send });
    // A client may send the farewell more than once.
    let closing: Promise<void> | undefined;
    tunnel.onLine((line) => {
      if (line === farewell) closing ??= connection.answered().then(() => tunnel.close());
      else void connection.receive(line);
    });
    const unwatch = connection.closeOnRevocation(revoked, () => tunnel.cutOff(lossText(revoked)));
    const drop = (): void => {
      connection.close(leftUnread);
      tunnel.cutOff(leftUnread);
    };
    const uncount = traffic.unread.add(owner, { queued: outlet.queued, drop });
    tunnel.onClose(() => {
      unwatch();
      uncount();
      connection.close();
    });
  };
}

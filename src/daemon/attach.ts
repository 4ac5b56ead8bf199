import type { Handlers } from "../control/contract.ts";
import { Refusal } from "../control/refusal.ts";
import { asFailure } from "../core/failure.ts";
import { identify } from "../gateway/inner.ts";
import { lossText } from "../gateway/revocation.ts";
import { encodeLine } from "../mcp/lines.ts";
import { McpConnection } from "../serve/connection.ts";
import type { Engine } from "./engine.ts";
import { callerOf } from "./handlers/viewer.ts";

/** Serves MCP to a peer that gave a valid key, or is an administrator (SEMANTICS §4); a lost key ends it. */
export function attachTo(engine: Engine): Handlers["attach"] {
  const { current, running, traffic, stores } = engine;
  return (ctx, tunnel) => {
    const caller = callerOf(ctx, stores.keyring);
    const { revoked } = whoIs(engine, caller);
    const connection = new McpConnection({
      current,
      running,
      traffic,
      ...caller,
      send: (message) => void tunnel.send(encodeLine(message).slice(0, -1)),
    });
    tunnel.onLine((line) => void connection.receive(line));
    const stay = connection.endWith(revoked, () => tunnel.close(lossText(revoked)));
    tunnel.onClose(() => {
      stay();
      connection.close();
    });
  };
}

function whoIs(engine: Engine, caller: ReturnType<typeof callerOf>) {
  try {
    return identify(engine.current(), caller);
  } catch (error) {
    throw new Refusal("denied", asFailure(error).message);
  }
}

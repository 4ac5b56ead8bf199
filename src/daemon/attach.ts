import type { Handlers } from "../control/api.ts";
import { Refusal } from "../control/refusal.ts";
import { asFailure } from "../core/failure.ts";
import { identify } from "../gateway/inner.ts";
import { encodeLine } from "../mcp/lines.ts";
import { StdioConnection } from "../serve/stdio.ts";
import type { Engine } from "./engine.ts";
import { callerOf } from "./handlers/viewer.ts";

/** Tells legacy clients that their tools may have changed; what they see is theirs to ask for. */
export const toolsChanged = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}';

/** The stdio clients of the control socket: `mcpgw serve` beside a running daemon. */
export class Attached {
  readonly #engine: Engine;
  readonly #open = new Set<StdioConnection>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Serves MCP to a peer that gave a valid key, or is an administrator (SEMANTICS §4); a lost key ends it. */
  readonly attach: Handlers["attach"] = (ctx, tunnel) => {
    const { current, running, ground } = this.#engine;
    const caller = callerOf(ctx, ground.keyring);
    const { revoked } = whoIs(this.#engine, caller);
    const connection = new StdioConnection({
      current,
      running,
      ...caller,
      send: (message) => void tunnel.send(encodeLine(message).slice(0, -1)),
    });
    const cut = () => tunnel.close();
    revoked.addEventListener("abort", cut, { once: true });
    this.#open.add(connection);
    tunnel.onLine((line) => void connection.receive(line));
    tunnel.onClose(() => {
      revoked.removeEventListener("abort", cut);
      this.#open.delete(connection);
      connection.close();
    });
  };

  toolsChanged(): void {
    for (const connection of this.#open) connection.toolsChanged(toolsChanged);
  }
}

function whoIs(engine: Engine, caller: ReturnType<typeof callerOf>) {
  try {
    return identify(engine.current(), caller);
  } catch (error) {
    throw new Refusal("denied", asFailure(error).message);
  }
}

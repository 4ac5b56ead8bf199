import type { Call, Reply } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Era } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import { discoverResult, initializeResult, negotiate } from "../mcp/handshake.ts";
import type { Gateway } from "./gateway.ts";

const told = '{"tools":{"listChanged":true}}';

type Answer = (gw: Gateway, call: Call, who: Principal) => Reply | Promise<Reply>;

/** What the gateway answers itself: nothing here has an effect, so it is counted but not recorded. */
export const answers: Readonly<Record<string, Answer | undefined>> = {
  initialize: only("legacy", (gw, call) => {
    const revision = negotiate(call.inbound.params.protocolVersion);
    return result(initializeResult(revision, { server: gw.identity, capabilities: told, instructions: null }));
  }),
  ping: only("legacy", () => result("{}")),
  "server/discover": only("modern", (gw) =>
    result(
      discoverResult({ server: gw.identity, capabilities: '{"tools":{"listChanged":false}}', instructions: null }),
      "modern",
    ),
  ),
  "tools/list": async (gw, call, who) => {
    await gw.booted;
    return result(gw.catalog.list(call, who, "tools"), call.inbound.era);
  },
};

function only(era: Era, answer: Answer): Answer {
  return (gw, call, who) => {
    if (call.inbound.era === era) return answer(gw, call, who);
    throw new Failure("unknown-method", `The method "${call.inbound.method}" is not part of this protocol revision.`);
  };
}

function result(text: string, era: Era = "legacy"): Reply {
  return { kind: "result", era, text, isError: false, type: null };
}

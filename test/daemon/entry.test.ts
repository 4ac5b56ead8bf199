import { expect, test } from "bun:test";
import { type IdentifiedCall, setCaller } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import { auditLog } from "../../src/daemon/handlers/audit.ts";
import { answered, callOf, failed, openBroker, tempState } from "../audit/support.ts";
import { principal } from "../support/principal.ts";
import { archiveAt } from "./support.ts";

test.each(["key:k-1", "local:0", "stdio:desk", "anonymous"])(
  "R8 every record of a caller names it alike, whichever of its names the record holds (%s)",
  async (id) => {
    using at = tempState();
    const opened = await openBroker(at);
    const made = (): IdentifiedCall => {
      const call = callOf();
      setCaller(call, { ...principal(id), keyId: id.startsWith("key:") ? id.slice(4) : null });
      return call;
    };
    const call = made();
    await opened.broker.begin(call);
    await opened.broker.end(answered(call));
    await opened.broker.end(failed(made(), new Failure("denied", "no")));
    // What becomes of it is not on record when the log is opened again.
    await opened.broker.begin(made());
    await opened.close();
    await (await openBroker(at)).close();
    using archive = archiveAt(at);
    const { records } = await auditLog(archive, { type: "*", limit: 50 });
    const told = records.filter(({ type }) => type !== "checkpoint").map(({ type, caller }) => [type, caller]);
    expect(told.toReversed()).toEqual([
      ["call.begin", id],
      ["call.end", id],
      ["call.refused", id],
      ["call.begin", id],
      ["call.lost", id],
    ]);
    expect(records.find(({ type }) => type === "checkpoint")?.caller).toBe("system");
  },
);

import { expect, test } from "bun:test";
import { NoRevision } from "../../../src/upstream/faults.ts";
import { initialize } from "../../../src/upstream/link/handshake.ts";
import type { Answer, Link } from "../../../src/upstream/link/link.ts";
import { reasonOf } from "../../support/failure.ts";
import { linkHost } from "../../support/link-host.ts";

/** What a server's answer to `initialize` makes of it. */
function refusedBy(answer: Answer): Promise<unknown> {
  const link: Link = {
    pid: null,
    streams: 0,
    over: null,
    ended: new Promise(() => {}),
    ask: () => Promise.resolve(answer),
    tell: () => Promise.resolve(),
    fail() {},
    close: () => Promise.resolve(),
  };
  return reasonOf(initialize(link, linkHost, 1_000));
}

const refusals: [code: number, data: unknown, aboutEra: boolean][] = [
  [-32_601, undefined, true],
  [-32_020, undefined, true],
  [-32_021, undefined, true],
  [-32_022, undefined, true],
  [-32_600, undefined, true],
  [-32_602, undefined, true],
  [-32_603, { supported: ["2026-07-28"] }, true],
  [-32_603, { supported: "all" }, false],
  [-32_603, undefined, false],
  [-32_000, undefined, false],
  [-32_001, null, false],
];
test.each(refusals)("a refusal of initialize with %p and %p is about revisions: %p", async (code, data, aboutEra) => {
  const reason = await refusedBy({ kind: "error", idText: "1", error: "{}", code, message: "no", data });
  expect([reason instanceof NoRevision, reason]).toMatchObject([aboutEra, { code: "upstream-down" }]);
});

test.each(["1999-01-01", "2026-07-28", 7, undefined])(
  "a server that speaks %p does not speak legacy",
  async (revision) => {
    const result = JSON.stringify({ protocolVersion: revision, capabilities: {} });
    expect(await refusedBy({ kind: "result", idText: "1", result, isError: false, resultType: null })).toBeInstanceOf(
      NoRevision,
    );
  },
);

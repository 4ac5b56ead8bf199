import { expect, test } from "bun:test";
import { run } from "../support/command-line.ts";
import { entry, sampleHandlers } from "../support/control-answers.ts";

// What people read of answers that have more or less in them than most.

test("R20 status says why a gateway is not ready, and that nothing proves its log yet", async () => {
  const ready = await sampleHandlers().status({}, {} as never);
  const answer = { ...ready, notReady: "server crm is starting", audit: { ...ready.audit, checkpoint: null } };
  const { out } = await run("status", () => answer);
  expect(out).toMatch(/^state +not ready: server crm is starting$/m);
  expect(out).toMatch(/^checkpoint +none yet$/m);
});

test.each([
  ["192.0.2.7", "192.0.2.7"],
  [null, "not known: erased, changed since, or one of too many at once"],
])(
  "R25 audit show tells the address %p once, with what a call began with, and nothing of it twice",
  async (address, shown) => {
    const begin = { seq: 1, rec: JSON.stringify({ seq: 1, tool: "read" }), payloads: null, fault: null };
    const rec = JSON.stringify({ seq: 2, tool: "read" });
    const rest = { leaf: "ab", payloads: null, fault: null, source: { src: "http:~q", address } };
    const lines = async (first: typeof begin | null) =>
      (await run("audit show 2 --payloads", () => ({ entry: entry({ seq: 2 }), rec, ...rest, begin: first }))).out
        .trimEnd()
        .split("\n")
        .map((line) => line.split(/ {2,}/));
    const end = [
      ["tool", "read"],
      ["record", "2"],
      ["hash", "ab"],
    ];
    expect(await lines(begin)).toEqual([...end, [""], ["began with record 1"], ["address", shown], ["record", "1"]]);
    expect(await lines(null)).toEqual([["tool", "read"], ["address", shown], ...end.slice(1)]);
  },
);

test("R25 audit stats shows the records of one chain, though another has none", async () => {
  const chains = [
    { chain: "main", records: 0 },
    { chain: "serve-1", records: 3 },
  ];
  const answer = { chains, byType: {}, byStatus: {}, consumers: [], servers: [], tools: [] };
  const { out, err } = await run("audit stats", () => answer);
  expect([err, out]).toEqual(["", expect.stringMatching(/^serve-1 +3$/m)]);
});

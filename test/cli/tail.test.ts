import { expect, spyOn, test } from "bun:test";
import { tail } from "../../src/cli/commands/tail.ts";
import type { Cli } from "../../src/cli/cli.ts";
import type { Client, Gap } from "../../src/control/contract.ts";
import { Refusal, Unreachable } from "../../src/control/refusal.ts";
import type { AuditEntry } from "../../src/control/schemas.ts";
import { timeOf, timeText } from "../../src/core/time-text.ts";
import { entry } from "../support/control-answers.ts";
import { reasonOf } from "../support/failure.ts";

const given = (flags: Record<string, string>) => ({ words: [], flags: new Map(Object.entries(flags)) });

/** Runs tail over connections with these values, of which all but the last break; returns its requests and output. */
async function run(
  flags: Record<string, string>,
  connections: readonly (readonly (AuditEntry | Gap)[])[],
  show: () => AuditEntry,
) {
  const asked: Record<string, unknown>[] = [];
  const printed: unknown[] = [];
  const said: string[] = [];
  const looked: unknown[] = [];
  let [opened, closed] = [0, 0];
  const client = {
    call: async (_name: string, input: unknown) => (looked.push(input), { entry: show() }),
    async *stream(_name: string, input: Record<string, unknown>) {
      asked.push(input);
      yield* connections[asked.length - 1] ?? [];
      if (asked.length < connections.length) throw new Unreachable("the daemon closed the connection");
    },
    close: () => void closed++,
  };
  const out = {
    json: true,
    object: async (value: unknown) => void printed.push(value),
    say: (text: string) => void said.push(text),
  };
  const cli = { out, open: async () => (opened++, client as unknown as Client) } as unknown as Cli;
  expect(await tail.run(given(flags), cli)).toBe(0);
  expect(closed).toBe(opened);
  return { asked, printed, said, looked };
}

const waits = "mcpgw: the daemon closed the connection; waiting for it to come back";
const replaced = expect.stringContaining(
  "the log was replaced or restored from an older copy: record 7 is missing or different",
);
const seventh = entry({ seq: 7 });
const gone = () => {
  throw new Refusal("not-found", "chain main has no record 7");
};

test.each([
  ["the same", () => seventh, { after: 7 }, [waits]],
  ["another", () => entry({ seq: 7, at: seventh.at + 1 }), { since: timeText(seventh.at + 1) }, [waits, replaced]],
  ["missing", gone, { since: timeText(seventh.at + 1) }, [waits, replaced]],
] as const)(
  "R123 tail continues in a log in which the last printed record number is %s",
  async (_which, show, from, said) => {
    const ran = await run({}, [[entry({ seq: 6 }), seventh, { gap: 3 }], [entry({ seq: 8 })]], show);
    expect(ran.printed).toEqual([entry({ seq: 6 }), seventh, { gap: 3 }, entry({ seq: 8 })]);
    expect(ran.looked).toEqual([{ chain: "main", seq: 7 }]);
    expect(ran.asked[1]).toEqual({ ...ran.asked[0], ...from });
    expect(ran.said).toEqual([...said]);
  },
);

test("R123 tail considers a log replaced only if the daemon says so, not if it does not answer", async () => {
  let answers = 0;
  const show = () => {
    if (answers++ === 0) throw new Unreachable("the daemon closed the connection");
    return seventh;
  };
  const ran = await run({}, [[seventh], [entry({ seq: 8 })]], show);
  expect(ran.asked[1]).toEqual({ ...ran.asked[0], after: 7 });
  expect(ran.said).toEqual([waits, waits]);
});

test("R123 a tail that has printed nothing yet continues from its start time, or from its --since", async () => {
  const before = timeText(Date.now() * 1_000);
  const live = await run({}, [[], []], gone);
  expect(live.asked[0]?.["since"]).toBeUndefined();
  expect(timeOf(String(live.asked[1]?.["since"]))).toBeGreaterThanOrEqual(timeOf(before));
  const past = await run({ since: "2h" }, [[], []], gone);
  expect(past.asked[1]).toEqual(past.asked[0] ?? {});
  expect(String(past.asked[0]?.["since"]) < before).toBe(true);
  const local = await run({ since: "2026-01-31T08:00" }, [[]], gone);
  expect(local.asked[0]?.["since"]).toBe(timeText(Date.parse("2026-01-31T08:00") * 1_000));
});

test("R123 a tail that waits for its daemon says once why it cannot connect, unless just no daemon answers", async () => {
  const nobody = new Unreachable("no daemon answers at d.sock");
  const denied = new Refusal("denied", "permission denied for d.sock");
  const bad = new Error("g.yaml:1:1: unreadable");
  const attempts = [null, null, nobody, denied, nobody, denied, bad, null, denied, null];
  let streams = 0;
  const client = {
    async *stream() {
      yield* [];
      if (++streams < 4) throw new Unreachable("the daemon closed the connection");
    },
    close() {},
  };
  const said: string[] = [];
  const open = async (): Promise<Client> => {
    const fault = attempts.shift();
    if (fault) throw fault;
    return client as unknown as Client;
  };
  const cli = { out: { json: true, say: (text: string) => void said.push(text) }, open } as unknown as Cli;
  const waited: number[] = [];
  // Waits take no time here.
  using _waits = spyOn(globalThis, "setTimeout").mockImplementation(((run: () => void, ms: number, value: string) => {
    waited.push(ms);
    return setImmediate(run, value);
  }) as unknown as typeof setTimeout);
  expect(await tail.run(given({}), cli)).toBe(0);
  const why = (text: string) => `mcpgw: ${text}; waiting for it to come back`;
  expect(said).toEqual([waits, waits, why(denied.message), why(bad.message), waits, why(denied.message)]);
  // A connection that worked resets the wait, which grows with failed attempts.
  expect(waited).toEqual([250, 250, 500, 1000, 2000, 2000, 2000, 250, 500]);
});

test("R123 a tail that finds no daemon at its start fails instead of waiting", async () => {
  const nobody = new Unreachable("no daemon answers at d.sock");
  const open = (): Promise<Client> => Promise.reject(nobody);
  const cli = { out: { json: true }, open } as unknown as Cli;
  expect(await reasonOf(tail.run(given({}), cli))).toBe(nobody);
});

test("R123 a refusal by the daemon ends a tail", async () => {
  const client = {
    stream() {
      throw new Refusal("denied", "uid 1 may only attach");
    },
    close() {},
  };
  const cli = { out: { json: true }, open: async () => client as unknown as Client } as unknown as Cli;
  expect(String(await reasonOf(tail.run(given({}), cli)))).toContain("may only attach");
});

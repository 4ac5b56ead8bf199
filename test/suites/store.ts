import { expect, test } from "bun:test";
import type {
  AuditReader,
  AuditStore,
  KeyStore,
  ListStore,
  UsageKey,
  UsageQuery,
  UsageRow,
  UsageStore,
} from "../../src/core/store.ts";
import { leafOf } from "../../src/audit/chain.ts";
import { createEncoder, type Fields } from "../../src/audit/record.ts";
import { storedKey } from "../support/key-store.ts";

/** One backend, opened in its own directory; `reopen` closes everything and opens it again. */
export type Backend = {
  readonly chain: AuditStore;
  readonly state: KeyStore & ListStore;
  readonly usage: UsageStore;
  readonly reader: AuditReader;
  reopen(): Backend;
  dispose(): void;
};

const encoder = createEncoder({ chain: "main", boot: "b", node: "n", ver: "1" });

/** New rows with these facts, one µs apart, starting at `seq`. */
export function rowsOf(fields: readonly Partial<Fields>[], seq = 1) {
  return fields.map((some, index) => {
    const at = 1_795_248_000_000_000 + seq + index;
    const rec = encoder.encode({ type: "call.end", at, mono: 0, ...some }, seq + index, "p").toString("utf8", 1);
    return { seq: seq + index, rec, leaf: leafOf(rec), payload: null };
  });
}

const key = storedKey({ id: "k1", hash: "00ff", roles: ["reader", "writer"], expiresAt: 5, cidrs: ["10.0.0.0/8"] });
const use = (some: Partial<UsageRow>): UsageRow => ({
  consumer: "a",
  server: "s",
  tool: "t",
  hour: 10,
  calls: 1,
  errors: 0,
  denied: 0,
  latencySumUs: 5,
  bytesIn: 6,
  bytesOut: 7,
  ...some,
});

/** Requirements on every store; a backend is complete when this passes. */
export function storeSuite(name: string, open: () => Backend): void {
  const check = (title: string, work: (backend: Backend) => Promise<void> | void): void =>
    test(`store ${name}: ${title}`, async () => {
      const backend = open();
      try {
        await work(backend);
      } finally {
        backend.dispose();
      }
    });

  check("R39 R62 records, payloads and subjects are kept as given", async ({ chain, reader }) => {
    const salt = new Uint8Array(32).fill(7);
    const args = { part: "args" as const, salt, body: '{"é":"\\u0000"}' };
    const result = { part: "result" as const, salt, body: "" };
    const payloads = [args, null, result];
    const added = rowsOf([{ reason: "é\u0000 \u{1f600}" }, {}, {}]);
    const rows = added.map(({ seq, rec, leaf }) => ({ seq, rec, leaf }));
    chain.append(
      rows.map((row, at) => ({ ...row, payload: payloads[at] ?? null })),
      [{ id: "~x", salt, value: "192.0.2.1" }],
    );
    await chain.sync();
    expect(chain.last()).toEqual(rows[2] ?? null);
    expect(chain.page(2, 1)).toEqual(rows.slice(1, 2));
    expect(reader.chains()).toEqual(["main"]);
    expect(reader.page("main", 1, 10)).toEqual(rows);
    expect(reader.last("main")).toEqual(rows[2] ?? null);
    expect([1, 2, 3].map((seq) => reader.payloads("main", seq))).toEqual([
      [{ seq: 1, ...args }],
      [],
      [{ seq: 3, ...result }],
    ]);
    expect(reader.payloads("main", 1, 3)).toEqual([
      { seq: 1, ...args },
      { seq: 3, ...result },
    ]);
    expect(reader.subject("main", "~x")).toEqual({ id: "~x", salt, value: "192.0.2.1" });
    expect(reader.subject("main", "~y")).toBeNull();
    expect(reader.integrity("main")).toBeNull();
  });

  check("a commit is all or nothing", ({ chain }) => {
    chain.append(rowsOf([{}]));
    expect(() => chain.append([...rowsOf([{}], 2), ...rowsOf([{}], 1)])).toThrow();
    expect(chain.last()?.seq).toBe(1);
    chain.append(rowsOf([{}], 2));
    expect(chain.last()?.seq).toBe(2);
  });

  check("calls that began and did not end are found, starting at the position in the anchor", ({ chain }) => {
    const begin = (call: string) => ({ type: "call.begin", call }) as const;
    // A question to its caller does not end a call.
    const asked = { type: "call.input", call: "c" } as const;
    const lost = { type: "call.lost", call: "b" } as const;
    chain.append(rowsOf([begin("a"), begin("b"), { call: "a" }, begin("c"), lost, asked]));
    expect(chain.unfinished().map(({ seq }) => seq)).toEqual([4]);
    chain.saveAnchor({
      size: 9,
      note: "of a size that the chain does not have",
      frontier: new Uint8Array(64),
      settled: 9,
    });
    chain.saveAnchor({ size: 4, note: "n", frontier: new Uint8Array(32), settled: 5 });
    chain.saveAnchor({ size: 5, note: "m", frontier: new Uint8Array(64), settled: 5 });
    expect(chain.anchor()).toEqual({ size: 5, note: "m", frontier: new Uint8Array(64), settled: 5 });
    expect(chain.unfinished()).toEqual([]);
  });

  check("R11 records are found by their members, newest first", ({ chain, reader }) => {
    const start = 1_795_248_000_000_000;
    chain.append(
      rowsOf([
        { type: "call.begin", consumer: "a", srv: "s", tool: "t", call: "1" },
        { consumer: "a", srv: "s", tool: "t", st: "ok", call: "1" },
        { type: "call.refused", consumer: "a", srv: "s", tool: "u", st: "denied", call: "2" },
        { consumer: "b", srv: "q", tool: "t", st: "timeout", call: "3" },
        { type: "call.refused", consumer: "b", st: "rate_limited", count: 9 },
        { type: "admin.reload", caller: "x" },
        { type: "checkpoint", caller: "system" },
        { type: "server.crashed", caller: "system", facts: { server: "q" } },
      ]),
      [],
    );
    const find = (query: Parameters<AuditReader["find"]>[0]) => reader.find(query).rows.map(({ row }) => row.seq);
    expect(find({})).toEqual([8, 6, 5, 4, 3, 2]);
    expect(find({ type: "*" })).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(find({ type: "call.*" })).toEqual([5, 4, 3, 2, 1]);
    expect(find({ consumer: "a" })).toEqual([3, 2]);
    expect(find({ server: "q" })).toEqual([8, 4]);
    expect(find({ tool: "t" })).toEqual([4, 2]);
    expect(find({ tool: "s:t" })).toEqual([2]);
    expect(find({ tool: "t:s" })).toEqual([]);
    for (const [status, seqs] of Object.entries({
      success: [2],
      error: [4],
      denied: [3],
      "rate-limited": [5],
      timeout: [4],
    })) {
      expect(find({ status })).toEqual(seqs);
    }
    expect(find({ since: start + 4, until: start + 5 })).toEqual([5, 4]);
    // Times that no date can represent are before or after every record.
    expect(find({ since: -9e18, until: 9e18 })).toEqual(find({}));
    expect(find({ limit: 2 })).toEqual([8, 6]);
  });

  check("R23 R127 keys, tombstones and the freeze survive a restart", (first) => {
    first.state.addKey(key);
    expect(() => first.state.addKey(key)).toThrow();
    expect(() => first.state.addKey({ ...key, id: "k2" })).toThrow();
    first.state.revokeKey("k1", 77);
    first.state.revokeKey("k1", 99);
    first.state.addTombstone("from-yaml", 3);
    first.state.addTombstone("from-yaml", 4);
    first.state.setFrozen(true);
    for (const at of [9, 7]) first.state.saveUses(new Map([["k1", at]]));
    const { state } = first.reopen();
    expect(state.keys()).toEqual([{ ...key, revokedAt: 77 }]);
    expect(state.tombstones()).toEqual(["from-yaml"]);
    expect(state.uses()).toEqual(new Map([["k1", 9]]));
    expect(state.frozen()).toBe(true);
    state.setFrozen(false);
    expect(state.frozen()).toBe(false);
  });

  check("remembered tools belong to a server and its options", ({ state }) => {
    const offers = {
      prompts: [],
      resources: [],
      resourceTemplates: ["{}"],
      capabilities: '{"a":1.0}',
      instructions: "use it",
    };
    state.remember("s", "h1", { ...offers, era: "legacy", tools: ["{}"] });
    state.remember("s", "h2", { ...offers, era: "modern", tools: ['{"name":"x"}'] });
    expect(state.recall("s", "h1")).toBeNull();
    expect(state.recall("s", "h2")).toEqual({ ...offers, era: "modern", tools: ['{"name":"x"}'] });
    expect(state.recall("t", "h2")).toBeNull();
  });

  check("a server's remembered protocol eras belong to its options and can be forgotten", ({ state }) => {
    expect(state.recallEras("s", "h1")).toBeNull();
    state.rememberEras("s", "h1", { speaks: "both", at: 1_700_000_000_000 });
    expect(state.recallEras("s", "h1")).toEqual({ speaks: "both", at: 1_700_000_000_000 });
    expect(state.recallEras("s", "h2")).toBeNull();
    state.rememberEras("s", "h1", null);
    expect(state.recallEras("s", "h1")).toBeNull();
  });

  check("everything remembered of a server is forgotten, unless it belongs to other options", ({ state }) => {
    const offers = { era: "legacy", tools: ["{}"], prompts: [], resources: [], resourceTemplates: [] } as const;
    for (const server of ["kept", "removed"]) {
      state.remember(server, "h", { ...offers, capabilities: "{}", instructions: null });
      state.rememberEras(server, "h", { speaks: "both", at: 1 });
    }
    state.forget("removed", "h");
    state.forget("kept", "h2");
    const known = (server: string) =>
      [state.recall(server, "h"), state.recallEras(server, "h")].map((one) => one !== null);
    expect(["kept", "removed"].map(known)).toEqual([
      [true, true],
      [false, false],
    ]);
  });

  check("R13 usage adds up, and a range of records is counted once", ({ usage }) => {
    usage.apply("main", 0, 10, [use({ denied: 2 }), use({ consumer: "b", hour: 11 })]);
    usage.apply("main", 10, 20, [use({ calls: 2, errors: 1 })]);
    expect(() => usage.apply("main", 10, 20, [use({})])).toThrow("another process");
    expect(() => usage.apply("main", 21, 30, [use({})])).toThrow("another process");
    // Not a number, so nothing of this batch is counted.
    expect(() => usage.apply("main", 20, 30, [use({}), use({ calls: Number.NaN })])).toThrow("NOT NULL");
    usage.apply("serve-1", 0, 5, [use({ denied: 1 })]);
    expect([usage.usageMark("main"), usage.usageMark("serve-1"), usage.usageMark("serve-2")]).toEqual([20, 5, 0]);
    const counted = (query: UsageQuery) => usage.counted(query).rows;
    expect(counted({ consumer: "a" })).toEqual([
      use({ calls: 4, errors: 1, denied: 3, latencySumUs: 15, bytesIn: 18, bytesOut: 21 }),
    ]);
    expect(counted({ since: 11 * 3_600_000_000 }).map(({ consumer }) => consumer)).toEqual(["b"]);
    expect(counted({ until: 10 * 3_600_000_000 + 1 }).map(({ consumer }) => consumer)).toEqual(["a"]);
    const hours = [10, 11, 12].map((hour) => hour * 3_600_000_000);
    const periods = [counted({ since: hours[0], until: hours[1] }), counted({ since: hours[1], until: hours[2] })];
    expect(periods.map((rows) => rows.map(({ consumer }) => consumer))).toEqual([["a"], ["b"]]);
  });

  check("R13 usage not grouped by a key comes as one row, except that refused calls are separate", ({ usage }) => {
    const hours = [10, 11, 12].map((hour) => use({ hour, denied: hour === 12 ? 1 : 0 }));
    usage.apply("main", 0, 10, [...hours, use({ consumer: "b", tool: "u", hour: 12 })]);
    const told = (...apart: UsageKey[]) => {
      const { rows } = usage.counted({ apart });
      const texts = rows.map(({ consumer, server, tool, hour, calls, denied, bytesIn }) =>
        [consumer, server, tool, hour, calls, denied, bytesIn].join(),
      );
      return texts.sort();
    };
    expect(told("consumer")).toEqual(["a,,,0,1,1,6", "a,,,0,2,0,12", "b,,,0,1,0,6"]);
    expect(told("server", "tool")).toEqual([",s,t,0,1,1,6", ",s,t,0,2,0,12", ",s,u,0,1,0,6"]);
    expect(told("hour")).toEqual([",,,10,1,0,6", ",,,11,1,0,6", ",,,12,1,0,6", ",,,12,1,1,6"]);
    expect(usage.counted({}).rows).toHaveLength(4);
  });

  check("the chain continues after a restart", (first) => {
    first.chain.append(rowsOf([{}, {}]));
    const second = first.reopen();
    second.chain.append(rowsOf([{}], 3));
    expect(second.reader.page("main", 1, 10).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });
}

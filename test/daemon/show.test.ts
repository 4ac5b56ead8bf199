import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { auditHandlers } from "../../src/daemon/handlers/audit.ts";
import { archiveAt } from "../support/archive.ts";
import { openBroker, runCall, tempState, recordCall } from "../support/audit.ts";
import { admin } from "../support/context.ts";
import { everything, fake, Place, start } from "../support/daemon.ts";
import { reasonOf } from "../support/failure.ts";
import { pick } from "../support/wire.ts";

// What `audit show` shows of one call, with and without a daemon.

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [], policies: [] };

/** Returns an installation whose log has one call from `ip`, with a begin and an end record. */
async function placeWithCall(ip: string): Promise<Place> {
  const place = new Place(config);
  await place.newKey("nobody");
  const at = {
    root: place.dir,
    state: place.state,
    heads: place.heads,
    db: (chain = "main") => join(place.state, "audit", `${chain}.db`),
    [Symbol.dispose]: () => {},
  };
  const opened = await openBroker(at);
  await runCall(opened.broker, { ip });
  await opened.close();
  return place;
}

/** Returns the sequence number of the newest record of a type. */
async function newest(place: Place, type: string): Promise<number> {
  return (await place.records()).findLast((record) => record.type === type)?.seq ?? 0;
}

test("R8 a caller's address is shown only with --payloads, which is recorded, and not after it is erased", async () => {
  const ip = "203.0.113.9";
  using place = await placeWithCall(ip);
  const seq = String(await newest(place, "call.begin"));
  const shown = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await place.cli(["audit", ...args]);
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    return stdout;
  };
  const address = async (): Promise<string> =>
    /^address +(.*)$/m.exec(await shown("show", seq, "--payloads"))?.[1] ?? "";
  const readers = async (): Promise<string> =>
    (await shown("show", seq)) + (await shown("log", "--type", "call.*", "--json")) + (await shown("export"));
  const database = (statement: string): void => {
    using db = new Database(join(place.state, "audit/main.db"));
    db.run(statement);
  };

  expect(await address()).toBe(ip);
  // The end record has no source; the begin record does.
  expect(await shown("show", String(await newest(place, "call.end")), "--payloads")).toMatch(
    /^address +203\.0\.113\.9$/m,
  );
  expect(await readers()).not.toContain(ip);
  {
    await using _daemon = await place.start();
    expect(await address()).toBe(ip);
    expect(await readers()).not.toContain(ip);
    const acts = (await place.records()).filter(({ type }) => type === "admin.payloads-shown");
    expect(acts.map(({ facts }) => pick(facts, "seq"))).toEqual([Number(seq), Number(seq) + 1, Number(seq)]);
  }
  // No hash of the chain covers the stored address, so a changed one must not be shown as the caller's.
  database("UPDATE subject SET value = '198.51.100.1'");
  expect(await address()).toStartWith("not known");
  database("DELETE FROM subject");
  expect(await address()).toStartWith("not known: erased");
});

test("R8 R25 audit show prints the whole call for a listed record: caller, source, rule, arguments and result", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything()] });
  const { place } = daemon;
  const { id, key } = await place.newKey("alice");
  await daemon.call("fake__echo", { word: "question" }, key);
  await daemon.stop();

  const log = await place.cli(["audit", "log"]);
  expect(log.stderr).toContain("begin and checkpoint records are left out; --type call.begin or --type checkpoint");
  expect((await place.cli(["audit", "log", "--type", "call.*"])).stderr).not.toContain("left out");
  const [, seq = ""] = /main\/(\d+) .*fake:echo/.exec(log.stdout) ?? [];
  const [begin, end] = ["call.begin", "call.end"].map(async (type) => newest(place, type));
  expect(Number(seq)).toBe((await end) ?? 0);

  const { stdout } = await place.cli(["audit", "show", seq]);
  expect(stdout).toContain(`\nbegan with record ${await begin}\n`);
  for (const row of [
    `principal +key:${id}`,
    'roles +\\["user"\\]',
    "source +http:127.0.0.1",
    "rule +user-all",
    "policy digest +[0-9a-f]{64}",
  ]) {
    expect(stdout).toMatch(new RegExp(`^${row}`, "m"));
  }
  expect(stdout.match(/^consumer /gm)).toHaveLength(1);
  expect(stdout).not.toContain("question");
  const whole = await place.cli(["audit", "show", seq, "--payloads"]);
  expect(whole.stdout).toMatch(/\nargs\n\{"word":"question"\}\n\nresult\n\{.*question/);
  const [act] = (await place.records()).filter(({ type }) => type === "admin.payloads-shown");
  expect(act?.facts).toMatchObject({ seq: await end, begin: await begin });
});

test("R8 audit show --payloads says if arguments and results were too long to be stored completely", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything()] });
  const { place } = daemon;
  const { key } = await place.newKey("alice");
  const word = "x".repeat(70_000);
  await daemon.call("fake__echo", { word }, key);
  const { stdout } = await place.cli(["audit", "show", String(await newest(place, "call.end")), "--payloads"]);
  const [, args = "", result = ""] = stdout.split(/^(?=args|result,)/m);
  expect(args).toStartWith('args, only the first part of 70,011 bytes was stored\n{"word":"xxx');
  expect(result).toMatch(/^result, only the first part of 70,\d{3} bytes was stored\n/);
  await daemon.call("fake__echo", { word: "short" }, key);
  const short = await place.cli(["audit", "show", String(await newest(place, "call.end")), "--payloads"]);
  expect(short.stdout).toContain('\nargs\n{"word":"short"}\n');
});

test("R25 A01 A12 A13 a changed record or payload is shown with a note that it was changed", async () => {
  using at = tempState();
  await recordCall(at);
  using archive = archiveAt(at);
  const show = auditHandlers(() => archive)["audit.show"];
  const faults = async (payloads: boolean) => {
    const plan = await show({ seq: 2, chain: "main", payloads }, admin);
    const { fault, begin } = await plan.run();
    return [fault, begin?.fault];
  };
  const change = (statement: string): void => {
    using db = new Database(at.db());
    db.run(statement);
  };
  expect([await faults(false), await faults(true)]).toEqual([
    [null, null],
    [null, null],
  ]);
  change("UPDATE audit SET body = '{}' WHERE seq = 1");
  change("UPDATE audit SET part = NULL WHERE seq = 2");
  expect(await faults(true)).toEqual(["its result is gone", "its args are not what was recorded"]);
  expect(await faults(false)).toEqual([null, null]);
  change("UPDATE audit SET rec = replace(rec, 'agent', 'other')");
  const changed = "its hash does not match its text";
  expect(await faults(false)).toEqual([changed, changed]);
  // The record of another call, or a missing one, is not taken for the begin record.
  change(`UPDATE audit SET rec = replace(rec, '"call":"', '"call":"other-') WHERE seq = 1`);
  expect(await faults(false)).toEqual([changed, undefined]);
  change("DELETE FROM audit WHERE seq = 1");
  expect(await faults(false)).toEqual([changed, undefined]);
  const refusal = async (of: { seq: number; chain: string }) =>
    String(await reasonOf((async () => show({ ...of, payloads: false }, admin))()));
  expect(await refusal({ seq: 1, chain: "main" })).toContain("chain main has no record 1");
  expect(await refusal({ seq: 1, chain: "ghost" })).toContain("there is no chain ghost");
});

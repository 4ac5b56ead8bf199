import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openBroker, runCall } from "../audit/support.ts";
import { Place } from "../support/daemon.ts";

// What `audit show` tells of one call, with a daemon and without.

// Each command is a process; on a busy machine that takes its time.
setDefaultTimeout(20_000);

const config = { servers: [], policies: [] };

/** An installation whose log holds one call that came from `ip`: its begin is record 1, its end record 2. */
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

/** Number of the newest record of a type. */
async function newest(place: Place, type: string): Promise<number> {
  return (await place.records()).findLast((record) => record.type === type)?.seq ?? 0;
}

test("R8 the address of a caller is shown to administrators with --payloads only, which is recorded, until it is erased", async () => {
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
  expect(await readers()).not.toContain(ip);
  {
    await using _daemon = await place.start();
    expect(await address()).toBe(ip);
    expect(await readers()).not.toContain(ip);
    const acts = (await place.records()).filter(({ type }) => type === "admin.payloads-shown");
    expect(acts.map(({ facts }) => facts)).toEqual([
      expect.objectContaining({ seq: Number(seq) }),
      expect.objectContaining({ seq: Number(seq) }),
    ]);
  }
  // No hash of the chain covers what a name stands for: another address under it must not pass for the caller's.
  database("UPDATE subject SET value = '198.51.100.1'");
  expect(await address()).toStartWith("not known");
  database("DELETE FROM subject");
  expect(await address()).toStartWith("not known: erased");
});

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Daemon, everything, fake, Place, start, strongKey } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { modern, pick, request } from "../support/wire.ts";

// Managing keys: changes apply at once, to calls and to open streams.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [fake("fake")], policies: [everything()] };

let daemon: Daemon;

beforeAll(async () => {
  daemon = await start(config);
});
afterAll(() => daemon[Symbol.asyncDispose]());

type Listed = { frozen: boolean; keys: { id: string; state: string; source: string; consumerId: string }[] };
const keysOf = async (place: Place): Promise<Listed> => (await place.json("keys", "list")) as Listed;
const statusOf = async (of: Daemon, key: string): Promise<number> => (await of.post(request("ping"), { key })).status;

/** Opens a session's stream. The returned function resolves to the ms from its call until the stream has ended. */
async function openStream(of: Daemon, key: string) {
  const response = await of.stream(key, await of.session(key));
  expect(response.status).toBe(200);
  const end = response.text();
  return async (): Promise<number> => {
    const from = performance.now();
    await end;
    return performance.now() - from;
  };
}

test("R23, R124: a key created over the control socket works at once, is shown once, and is recorded with its creator", async () => {
  const { place } = daemon;
  const { id, key } = await place.newKey("alice", "user", "reader");
  expect(key).toMatch(/^mgw_[a-z]+_[0-9A-Za-z]{40,}_[0-9a-f]{8}$/);
  expect(await statusOf(daemon, key)).toBe(200);
  const listed = await place.cli(["keys", "list"]);
  expect(listed.stdout).toContain(id);
  expect(listed.stdout + JSON.stringify(await keysOf(place))).not.toContain(key);
  const made = (await place.records()).find(({ type, facts }) => type === "key.created" && pick(facts, "key") === id);
  expect(made).toMatchObject({
    caller: `local:${process.getuid?.()}`,
    facts: {
      consumer: "alice",
      roles: "user,reader",
      uid: process.getuid?.(),
      gid: process.getgid?.(),
      pid: expect.any(Number),
    },
  });
  const files = ["mcpgw.db", "mcpgw.db-wal"].map((name) => readFileSync(`${place.state}/${name}`));
  expect(Buffer.concat(files).includes(key)).toBe(false);
});

test("T42: after a revocation under load no later call succeeds, and the open stream and the running call end in < 1 s", async () => {
  await using daemon = await start(config);
  const { id, key } = await daemon.place.newKey("load");
  const bystander = await daemon.place.key("bystander");
  const ended = await openStream(daemon, key);
  // It ends only with the daemon, one way or another.
  const spared = openStream(daemon, bystander).then((ended) => ended().catch(() => 0));
  const { body, headers } = modern("tools/call", { name: "fake__hang", arguments: {} });
  const hung = daemon.post(body, { key, headers });
  await until(() => daemon.place.calls("fake").length === 1, "the call runs");
  const outcomes: { at: number; status: number }[] = [];
  let loading = true;
  const load = Array.from({ length: 4 }, async () => {
    while (loading) {
      const at = performance.now();
      outcomes.push({ at, status: await statusOf(daemon, key) });
    }
  });
  await until(() => outcomes.length > 20, "calls are running");
  await daemon.place.json("keys", "revoke", id);
  const revoked = performance.now();
  expect(await ended()).toBeLessThan(1000);
  await hung;
  expect(performance.now() - revoked).toBeLessThan(1000);
  await until(() => outcomes.some(({ at }) => at > revoked), "calls started after it");
  loading = false;
  await Promise.all(load);
  const late = outcomes.filter(({ at }) => at > revoked).map(({ status }) => status);
  // This many refusals also slow down their source.
  expect(late.filter((status) => status !== 401 && status !== 429)).toEqual([]);
  expect(outcomes[0]?.status).toBe(200);
  expect(await Promise.race([spared, statusOf(daemon, bystander)])).toBe(200);
  expect((await daemon.place.records()).map(({ type }) => type)).toContain("key.revoked");
});

test("R23: rotating replaces the key and does not affect the consumer's other key", async () => {
  const { place } = daemon;
  const first = await place.newKey("twin");
  const second = await place.newKey("twin");
  const rotated = (await place.json("keys", "rotate", first.id)) as { id: string; key: string };
  expect(rotated.id).not.toBe(first.id);
  const statuses = await Promise.all([first, second, rotated].map(({ key }) => statusOf(daemon, key)));
  expect(statuses).toEqual([401, 200, 200]);
  const twins = (await keysOf(place)).keys.filter(({ consumerId }) => consumerId === "twin");
  expect(twins.map(({ state }) => state).toSorted()).toEqual(["active", "active", "revoked"]);
  for (const id of [first.id, "no-such-key"]) {
    const ran = await place.cli(["keys", "rotate", id]);
    expect(ran).toMatchObject({ code: 1, stdout: "" });
    expect(ran.stderr).toContain(id);
  }
});

test("T42: a freeze refuses every caller and ends every stream at once, survives a restart, and can be undone", async () => {
  using place = new Place(config);
  const keys = [await place.key("alice"), await place.key("bob")] as const;
  {
    await using before = await place.start();
    const ends = await Promise.all(keys.map((key) => openStream(before, key)));
    await place.json("keys", "freeze");
    for (const ended of ends) expect(await ended()).toBeLessThan(1000);
    for (const key of keys) expect(await statusOf(before, key)).toBe(403);
    const frozen = await before.post(request("tools/list", {}, "f"), { key: keys[0] });
    expect(frozen.json).toMatchObject({ id: "f", error: { code: -31403 } });
    expect((await place.cli(["status"])).stdout).toContain("frozen");
  }
  await using after = await place.start();
  expect(await statusOf(after, keys[0])).toBe(403);
  await place.json("keys", "unfreeze");
  expect(await statusOf(after, keys[0])).toBe(200);
});

test("R3: an expiring key ends on time, and so does its stream", async () => {
  const at = Date.now() + 5_000;
  const expires = new Date(at).toISOString();
  const ran = await daemon.place.cli(["keys", "create", "short", "short", "user", "--expires", expires, "--json"]);
  const { key } = JSON.parse(ran.stdout) as { key: string };
  const ended = await openStream(daemon, key);
  expect(await statusOf(daemon, key)).toBe(200);
  await ended();
  expect(Date.now()).toBeWithin(at - 5, at + 1000);
  expect(await statusOf(daemon, key)).toBe(401);
  expect((await keysOf(daemon.place)).keys.find(({ consumerId }) => consumerId === "short")?.state).toBe("expired");
});

test("a revoked key of the file stays revoked over reload and restart; a removed one loses its streams", async () => {
  const keys = ["gone", "kept", "dropped"].map((id) => ({ id, key: strongKey(), consumerId: id, roles: ["user"] }));
  const [gone, kept, dropped] = keys.map(({ key }) => key) as [string, string, string];
  using place = new Place({ ...config, auth: { type: "api-key", keys } });
  {
    await using before = await place.start();
    expect(await statusOf(before, gone)).toBe(200);
    await place.json("keys", "revoke", "gone");
    expect(await statusOf(before, gone)).toBe(401);
    const ended = await openStream(before, dropped);
    const renamed = keys.slice(0, 2).map((key) => (key.id === "gone" ? { ...key, id: "gone-again" } : key));
    place.configure({ ...config, auth: { type: "api-key", keys: renamed } });
    await place.json("config", "reload");
    expect(await ended()).toBeLessThan(1000);
    // The same secret under another id is the same key.
    expect(await Promise.all([gone, kept, dropped].map((key) => statusOf(before, key)))).toEqual([401, 200, 401]);
    place.configure({ ...config, auth: { type: "api-key", keys } });
  }
  await using after = await place.start();
  expect(await Promise.all([gone, kept, dropped].map((key) => statusOf(after, key)))).toEqual([401, 200, 200]);
  const { keys: listed } = await keysOf(place);
  expect(listed.find(({ id }) => id === "gone")).toMatchObject({ state: "revoked", source: "config" });
  expect((await place.cli(["keys", "rotate", "kept"])).stderr).toContain("configuration");
});

test("R23: keys work without a daemon and are recorded in the same chain", async () => {
  using place = new Place(config);
  const kept = await place.newKey("offline");
  const ended = await place.newKey("offline");
  await place.json("keys", "revoke", ended.id);
  expect((await place.records()).map(({ type }) => type)).toEqual(
    expect.arrayContaining(["key.created", "key.created", "key.revoked"]),
  );
  await using later = await place.start();
  expect([await statusOf(later, kept.key), await statusOf(later, ended.key)]).toEqual([200, 401]);
  expect((await place.cli(["audit", "verify"])).code).toBe(0);
});

test("R23: deleting the store revives no revoked key of the configuration and ends no freeze", async () => {
  const secret = strongKey();
  const entry = { id: "yaml", key: secret, consumerId: "alice", roles: ["user"] };
  const outside = { servers: [], policies: [everything()], audit: { path: "log.db" } };
  using place = new Place({ ...outside, auth: { keys: [entry] } });
  const forget = () => {
    for (const file of readdirSync(place.state)) if (file.startsWith("mcpgw.db")) rmSync(join(place.state, file));
  };
  let warned = 0;
  const status = async (key: string): Promise<number> => {
    await using daemon = await place.start();
    warned = daemon.log.filter(({ msg }) => msg.startsWith("mcpgw.db is new, but the log is not")).length;
    return (await daemon.post(request("ping"), { key })).status;
  };
  expect([await status(secret), warned]).toEqual([200, 0]);
  await place.json("keys", "revoke", "yaml");
  await place.json("keys", "freeze");
  await place.json("keys", "unfreeze");
  forget();
  expect([await status(secret), warned]).toEqual([401, 1]);
  place.configure({ ...outside, auth: { keys: [{ ...entry, id: "renamed" }] } });
  expect(await status(secret)).toBe(401);
  const other = await place.newKey("bob");
  await place.json("keys", "freeze");
  forget();
  expect(await status(other.key)).toBe(403);
  const rebuilt = (await place.records()).filter(({ type }) => type === "key.rebuilt").map(({ facts }) => facts);
  expect(rebuilt).toEqual([
    { revoked: 1, frozen: false, lost: 0 },
    { revoked: 1, frozen: true, lost: 1 },
  ]);
  forget();
  writeFileSync(join(place.state, "mcpgw.db"), "");
  expect(await status(other.key)).toBe(403);
});

test("R23: a new secret under the id of a revoked configured key is warned of, and is valid under another id", async () => {
  const [leaked, fresh] = [strongKey(), strongKey()];
  const configWith = (id: string, key: string) => ({
    servers: [],
    policies: [everything()],
    auth: { keys: [{ id, key, consumerId: "alice", roles: ["user"] }] },
  });
  await using daemon = await start(configWith("yaml", leaked));
  const { place } = daemon;
  const reload = (id: string, key: string): Promise<unknown> => {
    place.configure(configWith(id, key));
    return place.json("config", "reload");
  };
  await place.json("keys", "revoke", "yaml");
  const warning = "auth.keys[0].id: key yaml was revoked; give a new secret another id";
  expect(await reload("yaml", fresh)).toMatchObject({ warnings: expect.arrayContaining([warning]) });
  expect(await statusOf(daemon, fresh)).toBe(401);
  await reload("renamed", fresh);
  expect(await statusOf(daemon, fresh)).toBe(200);
  await reload("leaked", leaked);
  expect(await statusOf(daemon, leaked)).toBe(401);
});

test("R23: an older copy of the store revives no revoked key and ends no freeze; what it lacks is reported once", async () => {
  using place = new Place({ servers: [], policies: [everything()] });
  const stores = () => readdirSync(place.state).filter((file) => file.startsWith("mcpgw.db"));
  const [kept, revoked] = [await place.newKey("kept"), await place.newKey("revoked")];
  const copies = stores().map((file) => [file, readFileSync(join(place.state, file))] as const);
  const putBack = () => {
    for (const file of stores()) rmSync(join(place.state, file));
    for (const [file, bytes] of copies) writeFileSync(join(place.state, file), bytes);
  };
  let later = "";
  {
    await using _daemon = await place.start();
    later = await place.key("later");
    await place.json("keys", "revoke", revoked.id);
    await place.json("keys", "freeze");
  }
  putBack();
  const embedded = await place.cli(["serve"], { env: { MCPGW_API_KEY: kept.key } });
  expect(embedded).toMatchObject({ code: 1, stderr: expect.stringContaining("frozen") });
  putBack();
  {
    await using daemon = await place.start();
    await daemon.logged(({ msg }) => msg.includes("mcpgw.db is older than the log"));
    expect(await statusOf(daemon, kept.key)).toBe(403);
    await place.json("keys", "unfreeze");
    const answers = [kept.key, revoked.key, later].map((key) => statusOf(daemon, key));
    expect(await Promise.all(answers)).toEqual([200, 401, 401]);
    await daemon.stop("SIGKILL");
  }
  await using daemon = await place.start();
  expect(await statusOf(daemon, kept.key)).toBe(200);
  const rebuilt = (await place.records()).filter(({ type }) => type === "key.rebuilt");
  const facts = { revoked: 1, frozen: true, lost: 1 };
  expect(rebuilt.map((record) => [record.chain, record.facts])).toEqual([
    ["main", facts],
    ["serve-1", facts],
  ]);
});

test("R23: creating a key reports where it is valid, until when, and which of its roles has no policy", async () => {
  using place = new Place(config);
  const made = await place.cli(["keys", "create", "n", "c", "user,ghost", "--cidr", "127.0.0.1", "--expires", "2h"]);
  expect(made.stderr).toMatch(/only from 127\.0\.0\.1; expires \d{4}-\d\d-\d\d \d\d:\d\d/);
  expect(made.stderr).toContain("no policy names the role ghost");
  expect(made.stderr).not.toContain("names the role user");
  expect((await place.cli(["keys", "list"])).stdout).toContain("127.0.0.1");
});

test("R3: behind a proxy status warns of stored keys whose networks would be checked against callers' addresses", async () => {
  await using behind = await start({ ...config, servers: [], listen: { behindTlsProxy: true } });
  const { place } = behind;
  const about = async () => (await place.warnings()).filter((one) => one.includes("address of the proxy"));
  await place.key("anywhere");
  expect(await about()).toEqual([]);
  const made = await place.cli(["keys", "create", "n", "c", "user", "--cidr", "10.0.0.0/8", "--json"]);
  const { id } = JSON.parse(made.stdout) as { id: string };
  expect(await about()).toEqual([expect.stringContaining(`the networks of key ${id} are compared with`)]);
  await place.cli(["keys", "revoke", id]);
  expect(await about()).toEqual([]);
});

test("R23: without a daemon, a key of the file that clashes with a stored one is reported with its place in the file", async () => {
  using place = new Place(config);
  const { id, key } = await place.newKey("agent");
  const keyed = { id: "twin", key, consumerId: "agent", roles: ["user"] };
  place.configure({ ...config, auth: { keys: [keyed] } });
  for (const words of [["list"], ["freeze"], ["revoke", id]]) {
    const { code, stderr } = await place.cli(["keys", ...words]);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/gateway\.yaml:\d+:\d+: auth\.keys\[0\]\.id: key twin has the same secret/),
    ]);
    expect(stderr).not.toContain(key);
  }
});

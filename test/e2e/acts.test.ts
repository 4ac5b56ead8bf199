import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type CallName, type Input, type Name, operations, type StreamName } from "../../src/control/api.ts";
import { connect } from "../../src/control/client.ts";
import { everything, fake, start } from "../support/daemon.ts";
import { until } from "../support/until.ts";

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

type Table = typeof operations;
type ActName = { [N in Name]: Table[N] extends { recorded: object } ? N : never }[Name];

/** Returns for each administrator operation an input that requires an administrator; `key` is the id of a key. */
const inputs = (key: string): { readonly [N in ActName]: Input<N> } => ({
  "keys.create": { name: "n", consumerId: "c", roles: ["user"] },
  "keys.rotate": { id: key },
  "keys.revoke": { id: key },
  "keys.freeze": {},
  "keys.unfreeze": {},
  "servers.restart": { id: "fake" },
  "tools.call": { tool: "fake:echo" },
  "audit.show": { seq: 1, payloads: true },
  "audit.export": { payloads: true },
  "config.reload": {},
});

test("R124 D9: every administrator operation leaves a record that names the requesting process", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything("admin")] });
  const { place } = daemon;
  const client = await connect(join(place.state, "control.sock"), { version: "0" });
  for (const [name, input] of Object.entries(inputs((await place.newKey("a")).id))) {
    // Each name has its own input, which a union of names cannot express.
    if ("stream" in operations[name as Name]) for await (const _ of client.stream(name as StreamName, input as never));
    else await client.call(name as CallName, input as never);
  }
  client.close();
  const [uid, gid] = [process.getuid?.(), process.getgid?.()];
  const more = (process.getgroups?.() ?? []).filter((group) => group !== gid);
  const asker = { uid, gid, pid: process.pid, ...(more.length > 0 && { groups: more.join() }) };
  const noted = (await place.records()).filter(({ facts }) => Bun.deepMatch(asker, facts ?? {}));
  const acts = Object.values(operations).flatMap((row) => ("recorded" in row ? Object.values(row.recorded) : []));
  expect(noted.map(({ type }) => type).toSorted()).toEqual(acts.toSorted());
});

test("a call made over the control socket ends with its connection", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything("admin")] });
  const { place } = daemon;
  const client = await connect(join(place.state, "control.sock"), { version: "0" });
  const call = client.call("tools.call", { tool: "fake:hang" }).catch(() => {});
  await until(() => place.calls("fake").length === 1, "the server has the call");
  client.close();
  await call;
  const ended = async () => (await place.records()).find(({ type }) => type === "call.end");
  expect(await until(ended, "the call's end")).toMatchObject({ st: "cancelled" });
});

import { expect, setDefaultTimeout, test } from "bun:test";
import { everything, fake, start } from "../support/daemon.ts";
import { pick } from "../support/wire.ts";

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

test("R8 a record that counts refusals says when they happened, not only when it was written", async () => {
  await using daemon = await start({ servers: [fake("fake")], policies: [everything()] });
  const { place } = daemon;
  const key = await place.key("alice");
  await place.json("keys", "freeze");
  for (let i = 0; i < 3; i += 1) expect((await daemon.call("fake__echo", {}, key)).status).toBe(403);
  expect((await daemon.get("/metrics")).text).toContain(
    "# HELP mcp_gateway_auth_failures_total Requests refused for their credential, or while all callers were frozen.\n" +
      "# TYPE mcp_gateway_auth_failures_total counter\nmcp_gateway_auth_failures_total 3\n",
  );
  await place.json("keys", "unfreeze");
  await daemon.stop();

  const records = await place.records();
  const at = (type: string): string =>
    String(
      pick(
        records.findLast((record) => record.type === type),
        "t",
      ),
    );
  const refused = records.filter(({ type }) => type === "auth.failed");
  expect(refused.map(({ count }) => count)).toEqual([1, 2]);
  const [first, last] = ["first", "last"].map((name) => String(pick(refused[1]?.facts, name)));
  const order = [at("key.frozen"), first, last, at("key.unfrozen"), at("auth.failed")].map(String);
  expect(order).toEqual(order.toSorted());
  expect((await place.cli(["audit", "log"])).stdout).toContain(`first=${first} last=${last} code=frozen count=2`);
});

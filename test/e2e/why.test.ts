import { expect, setDefaultTimeout, test } from "bun:test";
import { fake, Place, start } from "../support/daemon.ts";

setDefaultTimeout(20_000);

test("why: through a running daemon, before and after the key is revoked; without one it is not answered", async () => {
  const policies = [{ id: "p", roles: ["user"], rules: [{ id: "counts", tool: "count", action: "allow" }] }];
  await using daemon = await start({
    servers: [fake("one"), fake("off", [], { enabled: false })],
    toolsets: [{ id: "desk", include: ["one:*"] }],
    policies,
  });
  const { place } = daemon;
  const { id } = await place.newKey("alice");
  const why = (...args: string[]) => place.cli(["why", ...args]);
  const allowed = await why("alice", "one:count");
  expect(allowed).toMatchObject({ code: 0, stderr: "" });
  expect(allowed.stdout).toMatch(new RegExp(`key:${id} +alice +user +listed +may call it +rule counts: allowed`));
  expect(await why(id, "one__echo")).toMatchObject({ code: 1, stdout: expect.stringContaining("no rule allows it") });
  expect((await why("alice", "off:count")).stdout).toContain("server off is disabled");
  expect(await why("bob", "one:count")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("no key or consumer bob"),
  });
  expect(await place.cli(["keys", "revoke", id])).toMatchObject({ code: 0 });
  expect(await why("alice", "one:count")).toMatchObject({
    code: 1,
    stdout: expect.stringContaining("the key is revoked"),
  });
  using nobody = new Place({ policies });
  expect((await nobody.cli(["why", "alice", "one:count"])).code).toBe(4);
});

import { expect, setDefaultTimeout, test } from "bun:test";
import { fake, Place, start } from "../support/daemon.ts";

setDefaultTimeout(30_000);

test("why works through a running daemon, before and after the key is revoked, and not without a daemon", async () => {
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
  expect(allowed.stdout).toMatch(new RegExp(`key:${id} +alice +user +listed +may use it +rule counts: allowed`));
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

test("why tells an operator what the refused caller was told, and does not guess at a cause", async () => {
  const rules = [
    { tool: "echo", when: { "args.text": { eq: "${principal.consumerId}" } }, action: "allow" },
    { tool: "count", when: { "source.loopback": { eq: true } }, action: "allow" },
  ];
  const policies = [{ id: "p", roles: ["user"], rules }];
  await using daemon = await start({
    servers: [fake("one")],
    rules: [{ id: "no-env", tool: "env", action: "deny" }],
    policies,
  });
  const { place } = daemon;
  const { id } = await place.newKey("alice");
  const why = async (...args: string[]) => {
    const { code, stdout, stderr } = await place.cli(["why", "alice", ...args]);
    return { code, stderr, last: stdout.trimEnd().split("\n").at(-1) };
  };
  const told = `key:${id}: Calls are allowed if args.text eq "alice".`;
  expect(await why("one:echo")).toEqual({
    code: 1,
    stderr: "evaluated without arguments; give them with --args\n",
    last: told,
  });
  expect(await why("one:echo", "--args", '{"text":"bob"}')).toEqual({ code: 1, stderr: "", last: told });
  expect(await why("one:echo", "--args", '{"text":"alice"}')).toMatchObject({ code: 0, stderr: "" });
  const { stdout } = await place.cli(["--json", "why", "alice", "one:echo"]);
  expect(JSON.parse(stdout).callers).toMatchObject([{ remedy: 'Calls are allowed if args.text eq "alice".' }]);
  expect(await why("one:env")).toMatchObject({ code: 1, stderr: "" });
  expect(await why("one:count")).toMatchObject({
    code: 1,
    stderr: "conditions test where a call comes from, which is not known here; LISTS or USE depends on it\n",
  });
});

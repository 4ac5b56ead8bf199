import { expect, test } from "bun:test";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import type { SessionQuestion } from "../../../src/core/upstream.ts";
import { greets, reply, serve } from "../../support/mcp-server.ts";
import { type AskOptions, fake, http, jsonOf, serveFake, textOf, upstreams } from "../../support/upstream.ts";

const own = { session: "s1", declares: { roots: { listChanged: true } } };
const rootsOf = async ({ session }: SessionQuestion): Promise<ClientAnswer> => ({
  kind: "result",
  text: `{"roots":[{"uri":"file:///${session}"}]}`,
});

const transports: [over: string, args: string[]][] = [
  ["a child", []],
  ["HTTP", ["--http", "--sse"]],
  ["the older pair", ["--pair"]],
  ["a WebSocket", ["--websocket"]],
];

test.each(transports)(
  "the first call runs once the server has the roots that it asked for: %s",
  async (_over, args) => {
    const first = ["--mode", "first-roots", ...args];
    const transport = args.includes("--pair") ? { transport: "sse" } : {};
    await using served = args.length > 0 ? await serveFake(first, { id: "a", ...transport }) : null;
    const options = served?.options ?? fake("a", first);
    await using set = upstreams([options], { askSession: rootsOf });
    for (const session of ["s1", "s2"]) {
      const seen = jsonOf(await set.ask("a", "seen", {}, { ...own, session }));
      expect(seen.roots).toMatchObject({ result: { roots: [{ uri: `file:///${session}` }] } });
    }
  },
);

test("the first call waits for a client that takes its time to answer", async () => {
  const slow = (question: SessionQuestion): Promise<ClientAnswer> =>
    new Promise((resolve) => setTimeout(() => resolve(rootsOf(question)), 250));
  await using set = upstreams([fake("a", ["--mode", "first-roots"])], { askSession: slow });
  const seen = jsonOf(await set.ask("a", "seen", {}, own));
  expect(seen.roots).toMatchObject({ result: { roots: [{ uri: "file:///s1" }] } });
});

/** Where the client does not listen outside of its calls. */
const unheard: [client: string, more: AskOptions][] = [
  ["of 2026-07-28", { era: "modern", declares: own.declares }],
  ["without a GET stream", own],
];

test.each(transports.flatMap(([over, args]) => unheard.map(([client, more]) => [over, client, args, more] as const)))(
  "the call that a server is started for is asked for the roots: %s, client %s",
  async (_over, _client, args, more) => {
    const first = ["--mode", "first-roots", ...args];
    const transport = args.includes("--pair") ? { transport: "sse" } : {};
    await using served = args.length > 0 ? await serveFake(first, { id: "a", ...transport }) : null;
    const options = served?.options ?? fake("a", first);
    await using set = upstreams([options], { askSession: rootsOf, listens: false });
    const asked: string[] = [];
    const input =
      (caller: string) =>
      async ({ method }: InputRequest): Promise<ClientAnswer> => {
        asked.push(`${caller} ${method}`);
        return { kind: "result", text: '{"roots":[{"uri":"file:///mine"}]}' };
      };
    const seen = jsonOf(await set.ask("a", "seen", {}, { ...more, input: input("first") }));
    expect(seen.roots).toMatchObject({ result: { roots: [{ uri: "file:///mine" }] } });
    await set.ask("a", "seen", {}, { ...more, input: input("second") });
    expect(asked).toEqual(["first roots/list"]);
  },
);

const late: [what: string, mode: string][] = [
  ["answers no ping", "no-ping"],
  ["gets no answer from the client", "first-roots"],
];

test.each(late)("the first call waits only so long for a server that %s", async (_what, mode) => {
  await using set = upstreams([fake("a", ["--mode", mode], { timeout: "1s" })], {
    askSession: () => new Promise(() => {}),
  });
  expect(jsonOf(await set.ask("a", "seen", {}, own)).roots).toBeUndefined();
});

test("the first call waits for no client that has no roots, or cannot be asked", async () => {
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {} });
    return method === "tools/call" ? reply(id, { content: [{ type: "text", text: "ran" }] }) : null;
  });
  const options = http("a", server.url, { protocol: "legacy" });
  const run = async (listens: boolean, declares: Record<string, unknown>): Promise<void> => {
    await using set = upstreams([options], { askSession: rootsOf, listens });
    expect(textOf(await set.ask("a", "echo", {}, { session: "s1", declares }))).toBe("ran");
  };
  await run(false, own.declares);
  await run(true, { sampling: {} });
  expect(server.of("ping")).toEqual([]);
  await run(true, own.declares);
  expect(server.of("ping").length).toBe(1);
});

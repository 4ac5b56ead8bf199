import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, everything, Place, servesParent, start } from "../support/daemon.ts";
import {
  connect,
  type Line,
  lines,
  type Listed,
  type Peer,
  serveCommand,
  type Target,
  unstamped,
} from "../support/sdk.ts";
import {
  everythingCommand,
  everythingHttp,
  type HttpServer,
  type ModernServer,
  modernServer,
} from "../support/sdk-servers.ts";

setDefaultTimeout(30_000);

// The same official client uses the same server directly and through the gateway, and must not see a difference.

type Case = { readonly tool: string; readonly args?: Record<string, unknown> };

const everythingCases: readonly Case[] = [
  { tool: "echo", args: { message: "héllo\u2028 \u{1f600}" } },
  { tool: "get-sum", args: { a: 0.1, b: 2e21 } },
  { tool: "get-annotated-message", args: { messageType: "error", includeImage: true } },
  { tool: "get-annotated-message", args: { messageType: "debug" } },
  { tool: "get-tiny-image" },
  { tool: "get-structured-content", args: { location: "Chicago" } },
  { tool: "get-resource-links", args: { count: 2 } },
  { tool: "trigger-long-running-operation", args: { duration: 0.06, steps: 3 } },
  { tool: "get-resource-reference", args: { resourceType: "Text", resourceId: -1 } },
];
const modernCases: readonly Case[] = [
  { tool: "add", args: { a: 1, b: 2 } },
  { tool: "image" },
  { tool: "fail" },
  { tool: "steps", args: { steps: 3 } },
];

let web: HttpServer;
let neo: ModernServer;
let daemon: Daemon;
let alone: Place;
let key = "";
const direct = new Map<string, Promise<Peer>>();

const upstreams = {
  std: { cases: everythingCases, at: (): Target => ({ command: everythingCommand("stdio"), env: {} }) },
  web: { cases: everythingCases, at: (): Target => ({ url: web.url }) },
  neo: { cases: modernCases, at: (line: Line): Target => ({ url: line === "2.x modern" ? neo.url : neo.bothEras }) },
} as const;

const routes = {
  HTTP: (): Target => ({ url: `${daemon.url}/mcp`, key }),
  "stdio beside a daemon": (): Target => serveCommand(daemon.place, key),
  "stdio alone": (): Target => serveCommand(alone),
} as const;

function directly(line: Line, upstream: keyof typeof upstreams): Promise<Peer> {
  const id = `${line} ${upstream}`;
  const known = direct.get(id);
  if (known) return known;
  const made = connect(line, upstreams[upstream].at(line));
  direct.set(id, made);
  return made;
}

/** Links to resources that several servers offer name their server; that is the only difference here. */
const plainUris = (result: unknown): unknown =>
  JSON.parse(JSON.stringify(result).replaceAll(/"mcpgw\+[a-z]+:(?=demo:)/g, '"'));

/** Returns the outcome of a call, with its progress. */
async function outcome(peer: Peer, name: string, args: Record<string, unknown> = {}) {
  const progress: unknown[] = [];
  const onprogress = (one: unknown): void => {
    progress.push(one);
    neo.goOn();
  };
  const result = plainUris(unstamped(await peer.call(name, args, { onprogress })));
  // The libraries process a notification after an answer in the same chunk, when no one listens for it any more; only
  // `steps` waits until it has been received.
  return name.endsWith("steps") ? { result, progress } : { result };
}

/** Returns the tools as a line sees them: the gateway hides tasks of 2025-11-25, and 2026-07-28 has none of them. */
const known = (line: Line, tools: readonly Listed[]): Listed[] =>
  tools
    .filter(({ name }) => name !== "grid")
    .map(({ execution, ...tool }) =>
      line === "2.x modern" || !Bun.deepEquals(execution, { taskSupport: "forbidden" }) ? tool : { ...tool, execution },
    );

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

beforeAll(async () => {
  web = await everythingHttp();
  neo = modernServer();
  const [command, ...args] = everythingCommand("stdio");
  const config = {
    auth: servesParent,
    servers: [
      { id: "std", command, args },
      { id: "web", url: web.url },
      { id: "neo", url: neo.url },
    ],
    policies: [everything()],
  };
  alone = new Place(config);
  daemon = await start(config);
  key = await daemon.place.key("agent");
});

afterAll(async () => {
  await Promise.all(Array.from(direct.values(), async (peer) => (await peer)[Symbol.asyncDispose]()));
  await daemon[Symbol.asyncDispose]();
  await Promise.all([web[Symbol.asyncDispose](), neo[Symbol.asyncDispose]()]);
  alone[Symbol.dispose]();
});

describe.each(lines)("client %s", (line) => {
  test.each(Object.keys(routes) as (keyof typeof routes)[])(
    "R22 R126: over %s it sees what it would see directly",
    async (route) => {
      await using peer = await connect(line, routes[route]());
      expect(peer.server?.name).toBe("mcpgw");
      const listed = await peer.tools();
      for (const id of Object.keys(upstreams) as (keyof typeof upstreams)[]) {
        const there = await directly(line, id);
        const own = listed.filter(({ name }) => name.startsWith(`${id}__`) && name !== "neo__grid");
        const bare = own.map((tool) => ({ ...tool, name: tool.name.slice(id.length + 2) }));
        expect(bare.toSorted(byName)).toEqual(known(line, await there.tools()).toSorted(byName));
        for (const { tool, args } of upstreams[id].cases) {
          const [through, straight] = [await outcome(peer, `${id}__${tool}`, args), await outcome(there, tool, args)];
          expect({ tool, ...through }).toEqual({ tool, ...straight });
        }
      }
    },
    30_000,
  );
});

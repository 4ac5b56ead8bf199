import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Daemon, Place, servesParent } from "../support/daemon.ts";
import { connect, lines, serveCommand, type Target, unstamped } from "../support/sdk.ts";
import { type ModernServer, modernServer } from "../support/sdk-servers.ts";
import { until } from "../support/until.ts";
import { request, v2025 } from "../support/wire.ts";

setDefaultTimeout(30_000);

// What official clients do apart from plain calls: pages, list changes, cancellation, errors, the end of a session.

const fixture = join(import.meta.dir, "../fixtures/sdk-tools.ts");
const routes = ["HTTP", "stdio beside a daemon", "stdio alone"] as const;
type Route = (typeof routes)[number];

let neo: ModernServer;
let daemon: Daemon;
let alone: Place;
let key = "";

const tools = ["one", "two", "three", "four", "wait"];
const toolsOf = (place: Place): string => join(place.dir, "tools");
const cancelledIn = (place: Place): string => join(place.dir, "cancelled");

function newPlace(): Place {
  const place = new Place("");
  writeFileSync(toolsOf(place), tools.join("\n"));
  place.configure({
    auth: servesParent,
    servers: [
      {
        id: "own",
        command: process.execPath,
        args: [fixture],
        env: { TOOLS: toolsOf(place), CANCELLED: cancelledIn(place) },
      },
      { id: "neo", url: neo.url },
    ],
    rules: [
      { id: "no-two", tool: "two", when: { "args.force": { eq: true } }, action: "deny", reason: "not by force" },
    ],
    policies: [{ id: "all", roles: ["user"], rules: [{ tool: "*", action: "allow" }] }],
  });
  return place;
}

const placeOf = (route: Route): Place => (route === "stdio alone" ? alone : daemon.place);
const target = (route: Route): Target =>
  route === "HTTP"
    ? { url: `${daemon.url}/mcp`, key }
    : serveCommand(placeOf(route), route === "stdio alone" ? undefined : key);

beforeAll(async () => {
  neo = modernServer();
  alone = newPlace();
  daemon = await newPlace().start();
  key = await daemon.place.key("agent");
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await neo[Symbol.asyncDispose]();
  daemon.place[Symbol.dispose]();
  alone[Symbol.dispose]();
});

const cancelledCalls = async (place: Place): Promise<number> =>
  (await place.records()).filter(({ type, st }) => type === "call.end" && st === "cancelled").length;

const refusalOf = (call: Promise<unknown>): Promise<string> =>
  call.then((result) => `no refusal: ${JSON.stringify(result)}`, String);

const each = routes.flatMap((route) => lines.map((line) => [line, route] as const));

describe.each(each)("client %s over %s", (line, route) => {
  test("R22 R126: pages, errors and refusals", async () => {
    await using peer = await connect(line, target(route));
    const names = (await peer.tools()).map(({ name }) => name);
    expect(names.filter((name) => name.startsWith("own__"))).toEqual(tools.map((name) => `own__${name}`).toSorted());
    expect(await peer.call("own__two", { force: true })).toMatchObject({
      isError: true,
      content: [{ type: "text", text: expect.stringContaining("no-two") }],
    });
    expect(await peer.call("neo__add", { a: "1" })).toMatchObject({
      isError: true,
      content: [{ type: "text", text: expect.stringContaining("arguments") }],
    });
    expect(await refusalOf(peer.call("own__five"))).toContain("Unknown tool: own__five");
    // 2026-07-28 has no ping, and the library knows that.
    if (line !== "2.x modern") expect(await peer.ping()).toEqual({});
    else expect(await refusalOf(peer.ping())).toContain("not supported");
  });

  test("R126: a result that only 2026-07-28 has does not break an older client", async () => {
    await using peer = await connect(line, target(route));
    const modern = line === "2.x modern";
    const grid = (await peer.tools()).find(({ name }) => name === "neo__grid");
    expect(grid?.["outputSchema"]).toEqual(modern ? expect.objectContaining({ type: "array" }) : undefined);
    const result = unstamped(await peer.call("neo__grid"));
    expect(result).toEqual({
      content: [{ type: "text", text: "[1,2]" }],
      ...(modern && { structuredContent: [1, 2] }),
    });
  });

  test("FIELD T66: a call that the caller cancels is cancelled at the server, and recorded", async () => {
    const place = placeOf(route);
    await using peer = await connect(line, target(route));
    // Before it began there may be no log.
    const before = await cancelledCalls(place);
    for (const name of ["own__wait", "neo__wait"]) {
      rmSync(cancelledIn(place), { force: true });
      const heard = neo.cancelled();
      const controller = new AbortController();
      const call = peer.call(name, {}, { signal: controller.signal, onprogress: () => controller.abort("enough") });
      expect(await refusalOf(call)).toContain("enough");
      const arrived = () => existsSync(cancelledIn(place)) || neo.cancelled() > heard;
      await until(arrived, `${name} to be cancelled`);
    }
    const recorded = async () => (await cancelledCalls(place)) === before + 2;
    await until(recorded, "the endings to be recorded", 10_000);
  });

  if (line === "2.x modern") return; // this client is told not to expect it
  test("R112: a change of the server's tools is notified to the client", async () => {
    const place = placeOf(route);
    await using peer = await connect(line, target(route));
    const changed = Promise.withResolvers<void>();
    peer.on("notifications/tools/list_changed", () => changed.resolve());
    const has = async (name: string) => (await peer.tools()).some((tool) => tool.name === name);
    expect(await has("own__five")).toBe(false);
    writeFileSync(toolsOf(place), [...tools, "five"].join("\n"));
    await changed.promise;
    await until(() => has("own__five"), "the new tool to be listed");
    writeFileSync(toolsOf(place), tools.join("\n"));
    await until(async () => !(await has("own__five")), "the new tool to be gone again");
  });
});

test.each(["1.x", "2.x legacy"] as const)(
  "S08: client %s ends its session, and the gateway forgets it",
  async (line) => {
    const ends = async () => (await daemon.place.records()).filter(({ type }) => type === "session.close").length;
    const before = await ends();
    await using peer = await connect(line, target("HTTP"));
    await peer.call("own__one");
    const headers = { ...v2025, "mcp-session-id": peer.session() ?? "" };
    const ping = async () => (await daemon.post(request("ping"), { key, headers })).status;
    expect(await ping()).toBe(200);
    await peer.terminate();
    expect(await ping()).toBe(404);
    await until(async () => (await ends()) === before + 1, "the end of the session to be recorded", 10_000);
  },
);

test("R88 S33: for the command line a hidden tool differs from a missing one only in the name that was requested", async () => {
  const words = async (tool: string) => {
    const { code, stderr } = await daemon.place.cli(["tools", "call", tool]);
    return [code, stderr.replace(tool, "NAME")];
  };
  expect(await words("own:one")).toEqual(await words("own:nil"));
  expect(await words("own:one")).toEqual([1, expect.stringContaining("Unknown tool: NAME")]);
});

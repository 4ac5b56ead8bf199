import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, fake, start } from "../support/daemon.ts";
import {
  type Answer,
  type AuditRecord,
  initialize,
  modern,
  pick,
  request,
  textOf,
  toolCall,
  v2025,
} from "../support/wire.ts";

// The gateway's answers to invalid input: exact status, code and id, no upstream call, and a record.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = {
  limits: { body: "4KiB", depth: 16 },
  servers: [fake("fake")],
  policies: [
    {
      id: "user",
      roles: ["user"],
      rules: [
        { tool: "hang", action: "deny" },
        { server: "fake", action: "allow" },
      ],
    },
  ],
};

let daemon: Daemon;
let key: string;

beforeAll(async () => {
  daemon = await start(config);
  key = await daemon.place.key("alice");
});
afterAll(() => daemon[Symbol.asyncDispose]());

type Sent = { readonly body: unknown; readonly headers?: Record<string, string> };
type Case = {
  /** The message with this id, and the headers in addition to those of every request. */
  readonly send: (id: string) => Sent;
  readonly status: number;
  readonly code: number;
  /** False if the id cannot be read or there is none. */
  readonly echo?: false;
  /** The status in the record; by default `invalid`. */
  readonly st?: string;
};

const plain =
  (make: (id: string) => unknown, headers: Record<string, string> = {}) =>
  (id: string): Sent => ({ body: make(id), headers });
const text = (make: (id: string) => string) => plain(make);
const notUtf8 = (id: string) =>
  Buffer.from(`{"jsonrpc":"2.0","id":"${id}","method":"ping","params":{"x":"\u00ff"}}`, "latin1");
const longText = "x".repeat(5000);

/** Returns a modern call of `fake__strict` with changed headers; null omits a header. */
const modernCall =
  (change: Record<string, string | null>, args: unknown = { n: 1 }) =>
  (id: string): Sent => {
    const { body, headers } = modern("tools/call", { name: "fake__strict", arguments: args }, { id });
    const changed = Object.entries({ ...headers, ...change }).filter((entry): entry is [string, string] => !!entry[1]);
    return { body, headers: Object.fromEntries(changed) };
  };

/** Returns a modern request with changed `_meta`; undefined omits a key. */
const modernMeta =
  (meta: Record<string, unknown>, header = "2026-07-28") =>
  (id: string): Sent => {
    const { body, headers } = modern("tools/list", {}, { id, meta });
    return { body, headers: { ...headers, "mcp-protocol-version": header } };
  };

const shapes: Record<string, Case> = {
  "text that is not JSON": { send: text(() => "{not json"), status: 400, code: -32700, echo: false },
  "bytes that are not UTF-8": { send: (id) => ({ body: notUtf8(id) }), status: 400, code: -32700 },
  "an empty body": { send: text(() => ""), status: 400, code: -32700, echo: false },
  "JSON that is cut off after its id": {
    send: text((id) => `{"jsonrpc":"2.0","id":"${id}","method":"ping","params":{`),
    status: 400,
    code: -32700,
  },
  "a batch in a revision without batches": {
    send: plain((id) => [request("ping", {}, id)], { "mcp-protocol-version": "2025-06-18" }),
    status: 400,
    code: -32600,
    echo: false,
  },
  "no jsonrpc": { send: plain((id) => ({ id, method: "ping" })), status: 400, code: -32600 },
  "another jsonrpc": { send: plain((id) => ({ jsonrpc: "1.0", id, method: "ping" })), status: 400, code: -32600 },
  "a method that is not a string": {
    send: plain((id) => ({ jsonrpc: "2.0", id, method: 7 })),
    status: 400,
    code: -32600,
  },
  "parameters by position": {
    send: plain((id) => ({ jsonrpc: "2.0", id, method: "ping", params: [1] })),
    status: 400,
    code: -32600,
  },
  "id null": { send: plain(() => request("ping", {}, null)), status: 400, code: -32600, echo: false },
  "a fractional id": {
    send: text(() => '{"jsonrpc":"2.0","id":1.5,"method":"ping"}'),
    status: 400,
    code: -32600,
    echo: false,
  },
  "a repeated key at the top level": {
    send: text((id) => `{"jsonrpc":"2.0","id":"${id}","method":"ping","method":"tools/list"}`),
    status: 400,
    code: -32600,
  },
  "a repeated key in the arguments, once escaped": {
    send: text(
      (id) =>
        `{"jsonrpc":"2.0","id":"${id}","method":"tools/call","params":{"name":"fake__echo","arguments":{"a":{"b":1,"\\u0062":2}}}}`,
    ),
    status: 400,
    code: -32600,
  },
  "nesting that is too deep": {
    send: text(
      (id) =>
        `{"jsonrpc":"2.0","id":"${id}","method":"tools/call","params":{"name":"fake__echo","arguments":{"a":${"[".repeat(20)}${"]".repeat(20)}}}}`,
    ),
    status: 400,
    code: -32600,
  },
  "a body over the limit with a Content-Length": {
    send: plain((id) => toolCall("fake__echo", { a: longText }, id)),
    status: 413,
    code: -32600,
    echo: false,
  },
  "another media type": {
    send: plain((id) => request("ping", {}, id), { "content-type": "text/plain" }),
    status: 415,
    code: -32600,
    echo: false,
  },
  "a compressed body": {
    send: plain((id) => request("ping", {}, id), { "content-encoding": "gzip" }),
    status: 415,
    code: -32600,
    echo: false,
  },
  "another charset": {
    send: plain((id) => request("ping", {}, id), { "content-type": "application/json; charset=utf-16" }),
    status: 415,
    code: -32600,
    echo: false,
  },
  "an Accept that allows no answer": {
    send: plain((id) => request("ping", {}, id), { accept: "text/html" }),
    status: 406,
    code: -32600,
    echo: false,
  },
};

const legacyCases: Record<string, Case> = {
  "an unknown method": { send: plain((id) => request("tools/pet", {}, id)), status: 200, code: -32601 },
  "a method named like a member of Object": {
    send: plain((id) => request("constructor", {}, id)),
    status: 200,
    code: -32601,
  },
  "a revision that does not exist": {
    send: plain((id) => request("ping", {}, id), { "mcp-protocol-version": "2025-01-01" }),
    status: 400,
    code: -32600,
  },
  "a session that does not exist": {
    send: plain((id) => request("ping", {}, id), { "mcp-session-id": "A".repeat(43) }),
    status: 404,
    code: -32001,
  },
  "a tool name that is not a string": {
    send: plain((id) => request("tools/call", { name: 7 }, id)),
    status: 200,
    code: -32602,
  },
  "arguments that are not an object": {
    send: plain((id) => toolCall("fake__echo", [1], id)),
    status: 200,
    code: -32602,
  },
  "wrong arguments before 2025-11-25": {
    send: plain((id) => toolCall("fake__strict", { n: "x" }, id), { "mcp-protocol-version": "2025-06-18" }),
    status: 200,
    code: -32602,
  },
  "wrong arguments without a revision": {
    send: plain((id) => toolCall("fake__strict", {}, id)),
    status: 200,
    code: -32602,
  },
  "an invalid cursor": {
    send: plain((id) => request("tools/list", { cursor: "x" }, id)),
    status: 200,
    code: -32602,
  },
  "an unknown tool": {
    send: plain((id) => toolCall("fake__nothing", {}, id)),
    status: 200,
    code: -32602,
    st: "denied",
  },
  "a hidden tool": { send: plain((id) => toolCall("fake__hang", {}, id)), status: 200, code: -32602, st: "denied" },
  "a tool by its canonical name": {
    send: plain((id) => toolCall("fake:echo", {}, id)),
    status: 200,
    code: -32602,
    st: "denied",
  },
};

const modernCases: Record<string, Case> = {
  "no protocolVersion in _meta": {
    send: modernMeta({ "io.modelcontextprotocol/protocolVersion": undefined }),
    status: 400,
    code: -32602,
  },
  "no clientCapabilities in _meta": {
    send: modernMeta({ "io.modelcontextprotocol/clientCapabilities": undefined }),
    status: 400,
    code: -32602,
  },
  "a protocolVersion that is not a string": {
    send: modernMeta({ "io.modelcontextprotocol/protocolVersion": 5 }),
    status: 400,
    code: -32602,
  },
  "a revision of the future": {
    send: modernMeta({ "io.modelcontextprotocol/protocolVersion": "2030-01-01" }, "2030-01-01"),
    status: 400,
    code: -32022,
  },
  "a version header that differs": { send: modernMeta({}, "2025-11-25"), status: 400, code: -32020 },
  "no version header": { send: modernCall({ "mcp-protocol-version": null }), status: 400, code: -32020 },
  "no Mcp-Method": { send: modernCall({ "mcp-method": null }), status: 400, code: -32020 },
  "another Mcp-Method": { send: modernCall({ "mcp-method": "tools/list" }), status: 400, code: -32020 },
  "an Mcp-Method in another case": { send: modernCall({ "mcp-method": "Tools/Call" }), status: 400, code: -32020 },
  "no Mcp-Name": { send: modernCall({ "mcp-name": null }), status: 400, code: -32020 },
  "another Mcp-Name": { send: modernCall({ "mcp-name": "fake__echo" }), status: 400, code: -32020 },
  "an Mcp-Name that is not Base64": { send: modernCall({ "mcp-name": "=?base64?***?=" }), status: 400, code: -32020 },
  "an Mcp-Param that differs from the arguments": {
    send: modernCall({ "mcp-param-region": "eu" }, { n: 1, region: "us" }),
    status: 400,
    code: -32020,
  },
  "no Mcp-Param for an argument that has one": {
    send: modernCall({}, { n: 1, region: "us" }),
    status: 400,
    code: -32020,
  },
  "initialize under a modern header": {
    send: (id) => ({ body: initialize("2025-11-25", id), headers: { "mcp-protocol-version": "2026-07-28" } }),
    status: 400,
    code: -32020,
  },
  "a method that was removed": { send: (id) => modern("ping", {}, { id }), status: 404, code: -32601 },
  "a method that does not exist": { send: (id) => modern("tools/pet", {}, { id }), status: 404, code: -32601 },
  "an unknown modern tool": {
    send: (id) => modern("tools/call", { name: "fake__nothing", arguments: {} }, { id }),
    status: 200,
    code: -32602,
    st: "denied",
  },
  "a response that was posted": {
    send: plain((id) => ({ jsonrpc: "2.0", id, result: {} }), { "mcp-protocol-version": "2026-07-28" }),
    status: 400,
    code: -32600,
  },
};

const cases = Object.entries({ ...shapes, ...legacyCases, ...modernCases }).map(
  ([name, one], index) => [name, one, `case-${index}`] as const,
);

describe("T20: each is refused with its code and id, recorded, and never forwarded", () => {
  const answers = new Map<string, Answer>();
  let records: AuditRecord[] = [];
  let reached: string[] = [];

  beforeAll(async () => {
    const before = { records: (await daemon.place.records()).length, calls: daemon.place.calls("fake").length };
    for (const [, { send }, id] of cases) {
      const { body, headers } = send(id);
      answers.set(id, await daemon.post(body, { key, ...(headers && { headers }) }));
    }
    records = (await daemon.place.records()).slice(before.records).filter(({ type }) => type === "call.refused");
    reached = daemon.place.calls("fake").slice(before.calls);
  });

  test.each(cases)("T20: %s", (_name, { status, code, echo }, id) => {
    const answer = answers.get(id);
    expect({ status: answer?.status, code: pick(answer?.json, "error.code") }).toEqual({ status, code });
    expect(pick(answer?.json, "id")).toBe(echo === false ? null : id);
    expect(pick(answer?.json, "error.message")).toMatch(/^[A-Z"].{10}/);
  });

  test("R62: each has one record that names the caller, the outcome, and the id if there was one", () => {
    for (const [name, one, id] of cases) {
      const found = records.filter(({ rpc }) => rpc === JSON.stringify(id));
      if (one.echo === false) continue;
      expect([name, found.map(({ st }) => st)]).toEqual([name, [one.st ?? "invalid"]]);
      expect(found[0]).toMatchObject({ consumer: "alice", src: "http:127.0.0.1" });
    }
    const nameless = cases.filter(([, one]) => one.echo === false);
    expect(records.filter(({ rpc }) => rpc === undefined || rpc === "1.5" || rpc === "null")).toHaveLength(
      nameless.length,
    );
  });

  test("none of them reached the server", () => expect(reached).toEqual([]));

  test("after all of them a valid call passes", async () => {
    const answer = await daemon.call("fake__echo", {}, key, "ok");
    expect(answer.json).toMatchObject({ id: "ok", result: { content: [{ type: "text" }] } });
  });
});

test("R60, T22: a chunked body over the limit is not read further and the caller is told", async () => {
  const chunks = Array.from({ length: 8 }, () => new TextEncoder().encode("y".repeat(1024)));
  const answer = await fetch(`${daemon.url}/mcp`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    body: new ReadableStream({
      pull(controller) {
        const chunk = chunks.pop();
        if (chunk) controller.enqueue(chunk);
        else controller.close();
      },
    }),
  });
  expect(answer.status).toBe(413);
  expect(await answer.json()).toMatchObject({ error: { code: -32600, message: expect.stringContaining("4096") } });
});

test("R2: a hidden tool and one that does not exist get the same answer, byte for byte", async () => {
  const hidden = await daemon.call("fake__hang", { a: 1 }, key, "same");
  const unknown = await daemon.call("fake__gone", { a: 1 }, key, "same");
  expect(hidden.text.replaceAll("fake__hang", "fake__gone")).toBe(unknown.text);
  expect([...hidden.headers].filter(([name]) => name !== "date")).toEqual(
    [...unknown.headers].filter(([name]) => name !== "date"),
  );
});

test.each([
  ["2025-11-25", v2025],
  ["2026-07-28", null],
] as const)("wrong arguments are a result that an agent can act on in %s", async (_revision, headers) => {
  const name = "fake__strict";
  const before = daemon.place.calls("fake");
  const call = headers ? { body: toolCall(name, { n: "x" }), headers } : modernCall({}, { n: "x" })("m");
  const answer = await daemon.post(call.body, { key, headers: { ...call.headers } });
  expect(answer.status).toBe(200);
  expect(answer.json).toMatchObject({ result: { isError: true } });
  expect(textOf(answer.json)).toContain("n");
  expect(pick(answer.json, "result.resultType")).toBe(headers ? undefined : "complete");
  expect(daemon.place.calls("fake")).toEqual(before);
});

test("an unsupported version is answered with the supported ones", async () => {
  const { body } = modern("tools/list", {}, { meta: { "io.modelcontextprotocol/protocolVersion": "2030-01-01" } });
  const headers = { "mcp-protocol-version": "2030-01-01", "mcp-method": "tools/list" };
  const answer = await daemon.post(body, { key, headers });
  expect(pick(answer.json, "error.data")).toEqual({ supported: ["2026-07-28"], requested: "2030-01-01" });
});

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { InputMethod } from "../../src/core/inbound.ts";
import { readInbound } from "../../src/mcp/classify.ts";
import {
  answers,
  forLegacyClient,
  outcomeOf,
  readResponses,
  readRound,
  responsesText,
  roundText,
  undeclared,
  urlQuestions,
} from "../../src/mcp/input-round.ts";
import { forNextHop } from "../../src/mcp/meta.ts";
import { limits, spaced } from "./support.ts";

const object = fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 5 });
const space = fc.constantFrom("", " ", "\n", "\t");
const key = fc.string({ minLength: 1, maxLength: 8 });

describe("rounds", () => {
  test("questions and state are passed on character for character", () => {
    const method = fc.constantFrom<InputMethod>("elicitation/create", "sampling/createMessage", "roots/list");
    const questions = fc.uniqueArray(fc.tuple(key, method, object, space), {
      selector: ([name]) => name,
      maxLength: 5,
    });
    fc.assert(
      fc.property(questions, fc.string(), (all, state) => {
        const asked = all.map(([name, kind, params, gap]) => ({
          key: name,
          request: { method: kind, params: spaced(params, gap) },
        }));
        expect(readRound(roundText(asked, state))).toEqual({ asked, state });
      }),
      { numRuns: 300 },
    );
  });

  test("answers are passed on character for character", () => {
    const given = fc.uniqueArray(fc.tuple(key, object, space), { selector: ([name]) => name, maxLength: 5 });
    fc.assert(
      fc.property(given, (all) => {
        const answered = all.map(([name, value, gap]) => [name, spaced(value, gap)] as const);
        const params = `{"name":"x","inputResponses":${responsesText(answered)}}`;
        const inbound = readInbound(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`, limits, {
          headers: null,
          pinned: "legacy",
          revision: "2025-11-25",
        });
        expect([...readResponses(inbound)]).toEqual(answered.map(([name, text]) => [name, text]));
      }),
      { numRuns: 300 },
    );
  });

  test("T20: the parser never throws", () => {
    const member = fc.constantFrom("inputRequests", "requestState", "resultType");
    fc.assert(
      fc.property(fc.dictionary(member, fc.jsonValue({ maxDepth: 4 })), (result) => {
        const round = readRound(JSON.stringify(result));
        expect(typeof round === "string" || round.asked.length >= 0).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

test("the outcome of an answer and the question that it fits", () => {
  const rows: [answer: string, to: InputMethod, outcome: string][] = [
    ['{"action":"accept","content":{}}', "elicitation/create", "accept"],
    ['{"action":"decline"}', "elicitation/create", "decline"],
    ['{"action":"cancel"}', "elicitation/create", "cancel"],
    ['{"role":"assistant","model":"m","content":[]}', "sampling/createMessage", "accept"],
    ['{"roots":[]}', "roots/list", "accept"],
  ];
  for (const [answer, to, outcome] of rows) {
    expect(outcomeOf(to, { kind: "result", text: answer })).toBe(outcome as never);
    for (const [, method] of rows) expect(answers(method, answer)).toBe(method === to);
  }
  expect(outcomeOf("roots/list", { kind: "error", text: "{}" })).toBe("error");
  for (const odd of ["7", "null", "[]", '"x"', "{}", '{"action":"agree"}']) {
    expect(rows.some(([, method]) => answers(method, odd))).toBe(false);
    expect(rows.map(([, method]) => outcomeOf(method, { kind: "result", text: odd }))).not.toContain("accept");
  }
});

test("members that belong to one hop are not passed on", () => {
  expect(
    forNextHop('{"a":1.10,"_meta":{"progressToken":1,"io.modelcontextprotocol/x":2,"com.acme/y":3}}', "progressToken"),
  ).toBe('{"a":1.10,"_meta":{"com.acme/y":3}}');
  expect(forNextHop('{"a":1.10 ,"_meta":{"progressToken":1}}', "progressToken")).toBe('{"a":1.10 }');
  expect(forNextHop('{ "a":1.10 }', "progressToken")).toBe('{ "a":1.10 }');
  const answer = '{"roots":[],"_meta":{"io.modelcontextprotocol/x":2,"com.acme/y":3}}';
  const text = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","inputResponses":{"k":${answer},"odd":7}}}`;
  const inbound = readInbound(text, limits, { headers: null, pinned: "legacy", revision: "2025-11-25" });
  expect([...readResponses(inbound)]).toEqual([
    ["k", '{"roots":[],"_meta":{"com.acme/y":3}}'],
    ["odd", "7"],
  ]);
});

test("a question is translated for older revisions", () => {
  const form = { method: "elicitation/create", params: '{"mode":"form","message":"?"}' } as const;
  expect(forLegacyClient(form, "2025-11-25", "id").params).toBe(form.params);
  expect(forLegacyClient(form, "2025-06-18", "id").params).toBe('{"message":"?"}');
  const url = { method: "elicitation/create", params: '{"mode":"url","url":"https://x/"}' } as const;
  expect(forLegacyClient(url, "2025-11-25", "id").params).toBe(
    '{"mode":"url","url":"https://x/","elicitationId":"id"}',
  );
  const named = { ...url, params: '{"mode":"url","elicitationId":"own"}' };
  expect(forLegacyClient(named, "2025-11-25", "id").params).toBe(named.params);
  const sampling = { method: "sampling/createMessage", params: '{"mode":"form"}' } as const;
  expect(forLegacyClient(sampling, "2024-11-05", "id")).toEqual(sampling);
});

test("null members count as absent", () => {
  const roots = { method: "roots/list", params: null };
  expect(readRound(JSON.stringify({ inputRequests: { k: roots }, requestState: null }))).toEqual({
    asked: [{ key: "k", request: { method: "roots/list", params: "{}" } }],
    state: null,
  });
  expect(readRound('{"inputRequests":null,"requestState":"s"}')).toEqual({ asked: [], state: "s" });
  expect(readRound('{"inputRequests":null,"requestState":null}')).toContain("neither");
  const sampling = '{"messages":[],"tools":null,"toolChoice":null,"includeContext":null}';
  expect(undeclared({ sampling: {} }, { method: "sampling/createMessage", params: sampling }, "2026-07-28")).toBeNull();
  const form = { method: "elicitation/create", params: '{"mode":null,"message":"?"}' } as const;
  expect(undeclared({ elicitation: { form: null, url: null } }, form, "2026-07-28")).toBeNull();
  const url = { method: "elicitation/create", params: '{"mode":"url","elicitationId":null}' } as const;
  expect(forLegacyClient(url, "2025-11-25", "id").params).toBe('{"mode":"url","elicitationId":"id"}');
});

test.each(["voice", "", 7, {}])("no client supports a question with the unknown mode %j", (mode) => {
  const question = { method: "elicitation/create", params: JSON.stringify({ mode, message: "?" }) } as const;
  expect(undeclared({ elicitation: { form: {}, url: {} } }, question, "2026-07-28")).toContain("with mode");
});

test("URLs to visit become questions", () => {
  const error = (data: unknown) => JSON.stringify({ code: -32042, message: "m", data });
  const url = { mode: "url", message: "m", url: "https://x/", elicitationId: "e" };
  const asked = urlQuestions(error({ elicitations: [url, { url: "https://y/", _meta: { progressToken: 1 } }] }));
  if (typeof asked === "string") throw new Error(asked);
  expect(asked.map(({ request }) => JSON.parse(request.params))).toEqual([url, { url: "https://y/", mode: "url" }]);
  for (const data of [undefined, 7, {}, { elicitations: [] }]) expect(urlQuestions(error(data))).toEqual([]);
  for (const elicitations of [{}, 7, "https://x/", [url, 7], [url, null]])
    expect(urlQuestions(error({ elicitations }))).toContain("not a list");
  expect(urlQuestions(error({ elicitations: Array.from({ length: 33 }, () => url) }))).toContain("32");
});

import { expect, test } from "bun:test";
import { NoRevision } from "../../../src/upstream/faults.ts";
import { greetModern, initialize } from "../../../src/upstream/link/handshake.ts";
import type { Answer, Link } from "../../../src/upstream/link/link.ts";
import { reasonOf } from "../../support/failure.ts";
import { linkHost } from "../../support/link-host.ts";

/** A link to a server that gives every request the same answer. */
const answering = (answer: Answer): Link => ({
  host: linkHost,
  pid: null,
  streams: 0,
  over: null,
  ended: new Promise(() => {}),
  request: () => Promise.resolve(answer),
  notify: () => Promise.resolve(),
  fail() {},
  close: () => Promise.resolve(),
});

const resultOf = (result: object): Answer => ({
  kind: "result",
  idText: "1",
  result: JSON.stringify(result),
  isError: false,
  resultType: null,
});

/** The failure for a server's answer to `initialize`. */
const refusedBy = (answer: Answer): Promise<unknown> => reasonOf(initialize(answering(answer), 1_000));

const refusals: [code: number, data: unknown, aboutEra: boolean][] = [
  [-32_601, undefined, true],
  [-32_020, undefined, true],
  [-32_021, undefined, true],
  [-32_022, undefined, true],
  [-32_600, undefined, true],
  [-32_602, undefined, true],
  [-32_603, { supported: ["2026-07-28"] }, true],
  [-32_603, { supported: "all" }, false],
  [-32_603, undefined, false],
  [-32_000, undefined, false],
  [-32_001, null, false],
];
test.each(refusals)("a refusal of initialize with %p and %p is about revisions: %p", async (code, data, aboutEra) => {
  const reason = await refusedBy({ kind: "error", idText: "1", error: "{}", code, message: "no", data });
  expect([reason instanceof NoRevision, reason]).toMatchObject([aboutEra, { code: "upstream-down" }]);
});

// An object whose members shadow the inherited ones cannot be converted to a string.
const textless = { toString: 1 };
test.each([
  ["1999-01-01", "it speaks the unknown revision 1999-01-01"],
  ["2026-07-28", "it speaks the unknown revision 2026-07-28"],
  [7, "it speaks the unknown revision 7"],
  [textless, 'it speaks the unknown revision {"toString":1}'],
  [undefined, "it names none"],
])("a server that names the revision %p has no legacy revision", async (revision, why) => {
  const reason = await refusedBy(resultOf({ protocolVersion: revision, capabilities: {} }));
  expect(reason).toBeInstanceOf(NoRevision);
  expect(reason).toMatchObject({ message: expect.stringContaining(`(${why})`) });
});

test("the unknown revisions of a server are reported, even if they are not strings", async () => {
  const reason = await reasonOf(
    greetModern(answering(resultOf({ supportedVersions: ["2099-01-01", textless] })), 1_000),
  );
  const why = 'no common protocol revision (it speaks 2099-01-01, {"toString":1})';
  expect(reason).toMatchObject({ code: "upstream-down", message: expect.stringContaining(why) });
});

test("if the capabilities are too large, only the standard ones are kept, as empty objects", async () => {
  const greet = async (capabilities: object) =>
    (await initialize(answering(resultOf({ protocolVersion: "2025-11-25", capabilities })), 1_000)).capabilities;
  const declared = { tools: { listChanged: true }, logging: true, experimental: { x: "y" } };
  expect(await greet(declared)).toEqual(declared);
  for (const long of [{ experimental: "x".repeat(64 * 1024) }, { tools: { x: "x".repeat(64 * 1024) } }])
    expect(await greet({ ...declared, ...long })).toEqual({ tools: {} });
});

test("a server that is configured as modern but names only other revisions is refused", async () => {
  const named = answering(resultOf({ supportedVersions: ["2025-06-18"] }));
  expect(await reasonOf(greetModern(named, 1_000))).toMatchObject({
    code: "upstream-down",
    message: expect.stringContaining("it does not speak 2026-07-28 (it names no modern revision)"),
  });
  const silent = answering({ kind: "error", idText: "1", error: "{}", code: -32_601, message: "no", data: null });
  expect((await greetModern(silent, 1_000)).era).toBe("modern");
});

import { expect, test } from "bun:test";
import { Withdrawn } from "../../src/core/cancel.ts";
import type { ClientAnswer, InputRequest } from "../../src/core/inbound.ts";
import { OpenQuestions } from "../../src/session/open-questions.ts";
import { Traffic } from "../../src/session/traffic.ts";
import { reasonOf } from "../support/failure.ts";

const roots = { method: "roots/list", params: '{"_meta":{"n":9007199254740993}}' } as const;
const yes: ClientAnswer = { kind: "result", text: '{"roots":[]}' };

function fixture() {
  const traffic = new Traffic();
  const questions = new OpenQuestions(traffic);
  const sent: string[] = [];
  const controller = new AbortController();
  const ask = (more: Partial<InputRequest> = {}): Promise<ClientAnswer> =>
    questions.ask({ ...roots, ...more }, controller.signal, (message) => sent.push(message));
  return { traffic, questions, sent, controller, ask };
}

const idIn = (message: string | undefined): string =>
  JSON.stringify((JSON.parse(message ?? "{}") as { id: number }).id);

test("FIELD T5: a request is sent unchanged under one of the gateway's ids, and its answer returns to the asker", async () => {
  const { questions, sent, ask, traffic } = fixture();
  const [first, second] = [ask(), ask()];
  expect(sent[0]).toBe(
    `{"jsonrpc":"2.0","id":${idIn(sent[0])},"method":"roots/list","params":{"_meta":{"n":9007199254740993}}}`,
  );
  expect(idIn(sent[0])).not.toBe(idIn(sent[1]));
  expect(traffic.asked).toBe(2);
  const other: ClientAnswer = { kind: "error", text: '{"code":-1,"message":"no"}' };
  expect(questions.answer(idIn(sent[1]), other)).toBe(true);
  expect(questions.answer(idIn(sent[0]), yes)).toBe(true);
  expect(await Promise.all([first, second])).toEqual([yes, other]);
  expect([questions.size, traffic.asked]).toEqual([0, 0]);
});

test("a client with only floating-point numbers can answer a question and report progress", async () => {
  const { questions, sent, ask } = fixture();
  const told: string[] = [];
  const asked = ask({ progress: (params) => void told.push(params) });
  questions.progress(`${idIn(sent[0])}.0`, '{"progress":1.0}');
  expect(questions.answer(`${idIn(sent[0])}.0`, yes)).toBe(true);
  expect([await asked, told]).toEqual([yes, ['{"progress":1.0}']]);
});

test("a question accepts one answer, and is not cancelled when its call ends later", async () => {
  const { questions, sent, ask, controller } = fixture();
  const asked = ask();
  const id = idIn(sent[0]);
  expect([questions.answer(id, yes), questions.answer(id, { kind: "error", text: "{}" })]).toEqual([true, false]);
  expect(await asked).toBe(yes);
  controller.abort();
  expect(sent).toHaveLength(1);
});

test("an answer to a question of an earlier session on the connection matches no question of the next one", async () => {
  const [before, now] = [fixture(), fixture()];
  const gone = reasonOf(before.ask());
  before.questions.close();
  await gone;
  const asked = now.ask();
  expect(now.questions.answer(idIn(before.sent[0]), yes)).toBe(false);
  expect(now.questions.answer(idIn(now.sent[0]), yes)).toBe(true);
  expect(await asked).toBe(yes);
});

test("S20: a string never matches the id of a question, even with the same digits", async () => {
  const { questions, sent, ask } = fixture();
  const asked = ask();
  const id = idIn(sent[0]);
  expect(questions.answer(`"${id}"`, yes)).toBe(false);
  expect(questions.answer(id, yes)).toBe(true);
  expect(await asked).toBe(yes);
});

test("a client that reads every id as a number, such as langchain4j, can answer", async () => {
  const { questions, sent, ask } = fixture();
  const asked = [ask(), ask()];
  // langchain4j reads an id with `JsonNode.asLong`, which returns 0 for anything but a number.
  const ids = sent.map((message) => Math.trunc(Number(JSON.parse(message).id)) || 0);
  expect(ids.map((id) => questions.answer(String(id), yes))).toEqual([true, true]);
  expect(await Promise.all(asked)).toEqual([yes, yes]);
});

test("progress is requested under the question's own id and reaches the asker until the answer arrives", async () => {
  const { questions, sent, ask } = fixture();
  const heard: string[] = [];
  const asked = ask({
    params: '{"_meta":{"n":9007199254740993,"progressToken":"theirs"}}',
    progress: (params) => heard.push(params),
  });
  const id = idIn(sent[0]);
  expect(sent[0]).toContain(`"params":{"_meta":{"n":9007199254740993,"progressToken":${id}}}`);
  const without = ask();
  for (const token of [id, `"${id}"`, '"theirs"', idIn(sent[1])]) questions.progress(token, `about ${token}`);
  expect(heard).toEqual([`about ${id}`]);
  questions.answer(id, yes);
  questions.progress(id, "too late");
  expect(heard).toHaveLength(1);
  questions.close();
  await Promise.allSettled([asked, without]);
});

test("an abandoned question is cancelled at the client, and a late answer matches nothing", async () => {
  const { questions, sent, ask, controller } = fixture();
  const asked = ask();
  controller.abort();
  expect(await reasonOf(asked)).toMatchObject({ code: "cancelled" });
  expect(JSON.parse(sent[1] ?? "")).toMatchObject({
    method: "notifications/cancelled",
    params: { requestId: JSON.parse(idIn(sent[0])) as number },
  });
  expect(questions.answer(idIn(sent[0]), yes)).toBe(false);
  expect(await reasonOf(ask())).toMatchObject({ code: "cancelled" });
  expect(sent).toHaveLength(2);
});

test.each([
  [new Withdrawn("no longer curious"), "no longer curious"],
  [new Withdrawn("x".repeat(501)), `${"x".repeat(499)}…`],
  [new Withdrawn(undefined), "no longer needed"],
  ["The gateway is stopping.", "no longer needed"],
])("the cancellation carries the asker's reason, up to a maximum length", async (why, told) => {
  const { sent, ask, controller } = fixture();
  const asked = ask();
  controller.abort(why);
  await reasonOf(asked);
  expect(JSON.parse(sent[1] ?? "").params.reason).toBe(told);
});

test("a client that has gone is asked nothing", async () => {
  const { questions, ask } = fixture();
  const asked = ask();
  questions.close();
  for (const end of await Promise.allSettled([asked, ask()])) {
    expect(end).toMatchObject({ status: "rejected", reason: { code: "cancelled" } });
  }
});

test("at most 64 questions can be open", async () => {
  const { questions, ask } = fixture();
  const asked = Array.from({ length: 64 }, () => ask());
  expect(await reasonOf(ask())).toMatchObject({ code: "overloaded" });
  questions.close();
  await Promise.allSettled(asked);
  expect(questions.size).toBe(0);
});

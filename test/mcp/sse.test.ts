import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SseParser, encodeEvent, keepAlive, type SseEvent } from "../../src/mcp/sse.ts";
import { cuts, expectFailure, spacedJson } from "./support.ts";

function parse(chunks: readonly Uint8Array[], maxEvent = 1_000_000): SseEvent[] {
  const events: SseEvent[] = [];
  const parser = new SseParser({ maxEvent: () => maxEvent, onEvent: (event) => void events.push(event) });
  for (const chunk of chunks) parser.push(chunk);
  return events;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const message = (data: string, id: string | null = null): SseEvent => ({ event: "message", data, id });

test.each([
  ["data: a\n\n", [message("a")]],
  ["data:a\r\n\r\n", [message("a")]],
  ["data: a\r\rdata: b\r\r", [message("a"), message("b")]],
  ["data: a\ndata: b\n\n", [message("a\nb")]],
  ["data:  a\n\n", [message(" a")]],
  ["data\n\n", [message("")]],
  ["data: a:b\n\n", [message("a:b")]],
  [": comment\n\n:\n\ndata: a\n\n", [message("a")]],
  ["event: ping\ndata: a\n\ndata: b\n\n", [{ event: "ping", data: "a", id: null }, message("b")]],
  ["id: 1\ndata: a\n\ndata: b\n\n", [message("a", "1"), message("b", "1")]],
  ["id: 1\ndata:\n\n", [message("", "1")]],
  ["event: x\n\n", []],
  ["retry: 5\nunknown: 1\ndata: a\n\n", [message("a")]],
  ["\ufeffdata: a\n\n", [message("a")]],
  ["data: cut off", []],
  ["data: cut off\n", []],
] as [string, SseEvent[]][])("%j", (text, events) => expect(parse([bytes(text)])).toEqual(events));

test("a stream can be resumed after the last complete event and the delay that the server sent", () => {
  const parser = new SseParser({ maxEvent: () => 1_000, onEvent: () => {} });
  expect(parser.resumption).toEqual({ lastId: null, retry: null });
  parser.push(bytes("id: a\nretry: 250\ndata:\n\nid: b\n\nretry: soon\nid: c\ndata: cut off"));
  expect(parser.resumption).toEqual({ lastId: "b", retry: 250 });
});

test("events are the same however the bytes are split and whatever ends the lines", () => {
  const data = fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 20 })
    .filter((text) => !/[\r\n\ufeff]|^ /.test(text));
  const end = fc.constantFrom("\n", "\r\n", "\r");
  fc.assert(
    fc.property(fc.array(data, { maxLength: 6 }), end, fc.array(fc.nat(), { maxLength: 20 }), (all, eol, at) => {
      const whole = bytes(all.map((text) => `data: ${text}${eol}data: 2${eol}${eol}`).join(""));
      expect(parse(cuts(whole, at))).toEqual(all.map((text) => message(`${text}\n2`)));
    }),
    { numRuns: 500 },
  );
});

test("an encoded message is one event with the same JSON", () => {
  fc.assert(
    fc.property(spacedJson, fc.option(fc.nat()), (text, id) => {
      const stream = keepAlive + (id === null ? encodeEvent(text) : encodeEvent(text, String(id))) + keepAlive;
      const [event, ...more] = parse([bytes(stream)]);
      expect(more).toEqual([]);
      expect(event?.id).toBe(id === null ? null : String(id));
      expect(JSON.parse(event?.data ?? "")).toEqual(JSON.parse(text));
    }),
  );
});

describe("T13 T19: the cap", () => {
  const flood = (text: string, times: number): Uint8Array[] => Array.from({ length: times }, () => bytes(text));

  test.each([
    ["one endless line", "data: xxxxxxxxxxxx"],
    ["endless lines of one event", "data: x\n"],
    ["an endless comment", ":::::::::"],
  ])("ends %s", (_what, text) => {
    expectFailure(() => parse(flood(text, 1000), 1000), "result-too-large");
  });

  test("counts each event separately and does not count comments", () => {
    expect(parse(flood("data: 12345678\n\n", 1000), 20)).toHaveLength(1000);
    expect(parse(flood(": keep-alive\n", 1000), 20)).toEqual([]);
  });
});

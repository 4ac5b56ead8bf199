import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { BodyReader } from "../../src/serve/body.ts";

/** A request whose body comes in these pieces and ends when `ended` resolves. */
function slow(pieces: readonly string[], ended: Promise<void> = Promise.resolve()): Request {
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      await ended;
      controller.close();
    },
  });
  return new Request("http://127.0.0.1/", { method: "POST", body });
}

const told = (text: string): Request =>
  new Request("http://127.0.0.1/", {
    method: "POST",
    body: text,
    headers: { "content-length": String(Buffer.byteLength(text)) },
  });

const outcome = async (read: Promise<string | Failure>): Promise<string> => {
  const said = await read;
  return said instanceof Failure ? said.code : said;
};

test("T22: a body may have as many bytes as the limit says, whether it tells its length or not", async () => {
  const reader = new BodyReader(() => 10);
  const reads = ["1234567890", "12345678901", "äöüäö", "äöüäöü"].flatMap((text) => [told(text), slow([text])]);
  const outcomes = await Promise.all(reads.map((req) => outcome(reader.read(req))));
  const [large, words] = ["body-too-large", "äöüäö"];
  expect(outcomes).toEqual(["1234567890", "1234567890", large, large, words, words, large, large]);
  expect(await outcome(reader.read(slow(["12", "34"]), 3))).toBe(large);
});

test("T26: a body that does not end in time is given up, one that has time left is waited for", async () => {
  const end = Promise.withResolvers<void>();
  const patient = new BodyReader(() => 10, 60_000);
  const [early, late] = [patient.read(slow(["done"])), patient.read(slow(["later"], end.promise))];
  // The patient reader began to watch before this one, so it has looked at what waits by the time this one gives up.
  expect(await outcome(new BodyReader(() => 10, 1).read(slow(["1"], new Promise(() => {}))))).toBe("body-timeout");
  end.resolve();
  expect([await early, await late]).toEqual(["done", "later"]);
});

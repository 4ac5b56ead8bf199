import { expect, test } from "bun:test";
import { Door, said } from "../support/front-door.ts";
import { exchange } from "../support/raw-exchange.ts";
import { toolCall } from "../support/wire.ts";

// Requests of which a proxy in front may think that they end elsewhere than Bun does. Bun refuses them, and has to go
// on doing so: what follows on the connection would else run as a request that the proxy never saw.

const call = JSON.stringify(toolCall("echo"));
const length = `Content-Length: ${call.length}`;
const chunked = "Transfer-Encoding: chunked";
const chunks = (text: string, size = text.length.toString(16)): string => `${size}\r\n${text}\r\n0\r\n\r\n`;

/** A POST with these header lines; `end` stands at the end of each line. */
function post(lines: readonly string[], body: string, end = "\r\n"): string {
  const head = ["POST /mcp HTTP/1.1", "Host: localhost", "Authorization: Bearer alice"];
  return [...head, "Content-Type: application/json", ...lines, "", body].join(end);
}

const requests: Readonly<Record<string, string>> = {
  "a length before chunks": post([length, chunked], chunks(call)),
  "chunks before a length": post([chunked, "Content-Length: 4"], chunks(call)),
  "two lengths": post([length, "Content-Length: 0"], call),
  "a list of lengths": post([`${length}, ${call.length}`], call),
  "a length with a sign": post([`Content-Length: +${call.length}`], call),
  "a hexadecimal length": post([`Content-Length: 0x${call.length.toString(16)}`], call),
  "a negative length": post(["Content-Length: -1"], call),
  "an unknown coding": post(["Transfer-Encoding: xchunked"], chunks(call)),
  "a coding after chunked": post(["Transfer-Encoding: chunked, identity"], chunks(call)),
  "two codings": post([chunked, "Transfer-Encoding: identity"], chunks(call)),
  "a control character before the coding": post(["Transfer-Encoding: \x0bchunked"], chunks(call)),
  "a space before the colon": post(["Transfer-Encoding : chunked"], chunks(call)),
  "a chunk size that is no number": post([chunked], chunks(call, `${call.length.toString(16)}g`)),
  "a negative chunk size": post([chunked], chunks(call, "-1")),
  "a chunk size beyond all numbers": post([chunked], chunks(call, `f${"0".repeat(16)}${call.length.toString(16)}`)),
  "bare line feeds": post([length], call, "\n"),
  "a bare carriage return": post(["X-A: b\rc", length], call),
  "a folded line": post(["X-A: b\r\n c", length], call),
  "a NUL": post(["X-A: b\0c", length], call),
};
test.each(Object.entries(requests))(
  "T24: %s is refused, and neither it nor what follows runs",
  async (_what, request) => {
    let ran = 0;
    await using door = new Door(() => {
      ran++;
      return said("ran");
    });
    const answer = await exchange(door.url, request + post([length], call));
    expect(answer).toMatch(/^HTTP\/1\.1 (400|505) /);
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(ran).toBe(0);
  },
);

test("T24: the same call in an unambiguous request runs, by its length and in chunks", async () => {
  await using door = new Door(() => said("ran"));
  for (const request of [post([length, "Connection: close"], call), post([chunked, "Connection: close"], chunks(call))])
    expect(await exchange(door.url, request)).toStartWith("HTTP/1.1 200 ");
  expect(door.ended.length).toBe(2);
});

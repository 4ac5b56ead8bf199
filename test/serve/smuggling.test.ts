import { expect, test } from "bun:test";
import { Door, said } from "../support/front-door.ts";
import { exchange, postText } from "../support/raw-http.ts";
import { toolCall } from "../support/wire.ts";

// Requests whose end a proxy in front might see elsewhere than Bun does. Bun must keep refusing them: otherwise what
// follows on the connection would run as a request that the proxy never saw.

const call = JSON.stringify(toolCall("echo"));
const length = `Content-Length: ${call.length}`;
const chunked = "Transfer-Encoding: chunked";
const chunks = (text: string, size = text.length.toString(16)): string => `${size}\r\n${text}\r\n0\r\n\r\n`;

const requests: Readonly<Record<string, string>> = {
  "a length before chunks": postText([length, chunked], chunks(call)),
  "chunks before a length": postText([chunked, "Content-Length: 4"], chunks(call)),
  "two lengths": postText([length, "Content-Length: 0"], call),
  "a list of lengths": postText([`${length}, ${call.length}`], call),
  "a length with a sign": postText([`Content-Length: +${call.length}`], call),
  "a hexadecimal length": postText([`Content-Length: 0x${call.length.toString(16)}`], call),
  "a negative length": postText(["Content-Length: -1"], call),
  "an unknown coding": postText(["Transfer-Encoding: xchunked"], chunks(call)),
  "a coding after chunked": postText(["Transfer-Encoding: chunked, identity"], chunks(call)),
  "two codings": postText([chunked, "Transfer-Encoding: identity"], chunks(call)),
  "a control character before the coding": postText(["Transfer-Encoding: \x0bchunked"], chunks(call)),
  "a space before the colon": postText(["Transfer-Encoding : chunked"], chunks(call)),
  "a chunk size that is not a number": postText([chunked], chunks(call, `${call.length.toString(16)}g`)),
  "a negative chunk size": postText([chunked], chunks(call, "-1")),
  "a chunk size too large for a number": postText(
    [chunked],
    chunks(call, `f${"0".repeat(16)}${call.length.toString(16)}`),
  ),
  "bare line feeds": postText([length], call, "\n"),
  "a bare carriage return": postText(["X-A: b\rc", length], call),
  "a folded line": postText(["X-A: b\r\n c", length], call),
  "a NUL": postText(["X-A: b\0c", length], call),
};
test.each(Object.entries(requests))(
  "T24: %s is refused, and neither the request nor what follows it runs",
  async (_what, request) => {
    let ran = 0;
    await using door = new Door(() => {
      ran++;
      return said("ran");
    });
    const answer = await exchange(door.url, request + postText([length], call));
    expect(answer).toMatch(/^HTTP\/1\.1 (400|505) /);
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(ran).toBe(0);
  },
);

test("T24: the same call in an unambiguous request runs, with a length and in chunks", async () => {
  await using door = new Door(() => said("ran"));
  for (const request of [
    postText([length, "Connection: close"], call),
    postText([chunked, "Connection: close"], chunks(call)),
  ])
    expect(await exchange(door.url, request)).toStartWith("HTTP/1.1 200 ");
  expect(door.ended.length).toBe(2);
});

import { expect, test } from "bun:test";
import { credentialsOf, sourceOf } from "../../src/serve/credentials.ts";

test.each([
  [{}, []],
  [{ authorization: "Bearer  one" }, ["one"]],
  [{ authorization: "bEARER one two" }, ["one two"]],
  [{ authorization: "Basic b25lOg==" }, [""]],
  [{ authorization: "Bearer" }, [""]],
  [{ authorization: "" }, [""]],
  [{ "x-api-key": "one" }, ["one"]],
  [{ "X-API-Key": "one" }, ["one"]],
  [{ "x-api-key": "" }, [""]],
  [{ authorization: "Bearer one", "x-api-key": "two" }, ["one", "two"]],
])("S30: the credentials in %j are passed on to authentication, even if they are not keys", (headers, expected) => {
  expect(credentialsOf(new Headers(headers))).toEqual(expected);
});

test.each(["via", "Forwarded", "X-Forwarded-For", "x-forwarded-port", "X-Real-IP"])(
  "S31: one %s header marks a request as forwarded and does not change its address",
  (name) => {
    const source = sourceOf(new Headers({ accept: "*/*", [name]: "203.0.113.9", "x-z": "1" }), "127.0.0.1");
    expect([source.forwarded, source.ip, source.loopback]).toEqual([true, "127.0.0.1", true]);
  },
);

test.each([
  ["127.0.0.1", true],
  ["::1", true],
  ["192.0.2.1", false],
])("S31: a request from %p is from this machine: %p", (ip, loopback) => {
  const source = sourceOf(new Headers({ "x-real": "1", "not-via": "1" }), ip);
  expect([source.forwarded, source.ip, source.loopback]).toEqual([false, ip, loopback]);
});

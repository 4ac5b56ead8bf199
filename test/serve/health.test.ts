import { expect, test } from "bun:test";
import { isLocal } from "../../src/serve/health.ts";
import { HttpRequest } from "../../src/serve/http-request.ts";

test.each([
  ["127.0.0.1:7332", true],
  ["[::1]:7332", true],
  ["localhost", true],
  ["localhost.:7332", true],
  ["my-host:7332", true],
  ["[::ffff:127.0.0.1]:7332", true],
  ["evil.example:7332", false],
  ["evil.example.", false],
  ["127.0.0.1.evil-host", false],
  ["a.xn--p1ai:80", false],
])("S01: a page whose host name resolves to this machine is not local: %s", (host, local) => {
  const raw = new Request("http://127.0.0.1/metrics", { headers: { host } });
  expect(isLocal(new HttpRequest(raw, "127.0.0.1"))).toBe(local);
});

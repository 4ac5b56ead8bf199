import { expect, test } from "bun:test";
import { quote, readConfig, shortSocket } from "../../scripts/lib/demo.ts";

test.each([
  ["/plain/path-1.yaml", "/plain/path-1.yaml"],
  ["", "''"],
  ["a b", "'a b'"],
  ["it's; $(x)", `'it'\\''s; $(x)'`],
])("%p is quoted as one word for the shell", async (text, quoted) => {
  expect(quote(text)).toBe(quoted);
  const child = Bun.spawn(["sh", "-c", `printf %s ${quote(text)}`], { stdout: "pipe" });
  expect(await child.stdout.text()).toBe(text);
});

test("the demo reads address and role from the configuration, or uses defaults", () => {
  const text = "listen: { http: '127.0.0.1:9000' }\npolicies:\n  - { id: p, roles: [reader, writer], rules: [] }\n";
  expect(readConfig(text)).toEqual({ listen: "127.0.0.1:9000", role: "reader" });
  expect(readConfig("")).toEqual({ listen: "127.0.0.1:7332", role: "demo" });
});

test("a checkout too deep for a socket path has its socket elsewhere, the same at each start", () => {
  const deep = `/${"x".repeat(90)}`;
  expect(shortSocket("/srv/mcpgw/state", "/run/user/7")).toBeNull();
  const socket = shortSocket(deep, "/run/user/7");
  expect(socket).toMatch(/^\/run\/user\/7\/mcpgw-\w+\/control\.sock$/);
  expect(shortSocket(deep, "/run/user/7")).toBe(socket);
  expect(shortSocket(`${deep}y`, "/run/user/7")).not.toBe(socket);
});

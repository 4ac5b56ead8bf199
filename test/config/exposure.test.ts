import { expect, test } from "bun:test";
import { loadText, refusal } from "../support/config.ts";

// Findings about a gateway that others can reach, and about who may call it.

test.each(["0.0.0.0", "192.0.2.1", "[2001:db8::1]", "gw.example"])(
  "R3: off loopback, at %s, keys must not be sent unencrypted",
  (host) => {
    expect(refusal(`listen: { http: "${host}:8080" }`).message).toContain("keys must not be sent unencrypted");
  },
);

test.each(["behindTlsProxy: true", "tls: { cert: c, key: k }"])("R3: off loopback, keys may be sent with %s", (by) => {
  const { config } = loadText(`listen: { http: "0.0.0.0:8080", ${by} }`);
  expect(config.listen.http.host).toBe("0.0.0.0");
});

test("R3: behind a proxy, checks of the caller's address cause a warning, since that address is the proxy's", () => {
  const key = { id: "a", keyHash: `sha256:${"0".repeat(64)}`, consumerId: "a", roles: ["r"] };
  const warned = (behindTlsProxy: boolean): string[] => {
    const { warnings } = loadText(
      JSON.stringify({
        listen: { behindTlsProxy },
        auth: {
          keys: [
            { ...key, cidrs: ["10.0.0.0/8"] },
            { ...key, id: "b", keyHash: `sha256:${"1".repeat(64)}` },
            { ...key, id: "c", keyHash: `sha256:${"2".repeat(64)}`, cidrs: ["10.0.0.0/8"], enabled: false },
          ],
        },
        rules: [{ when: { "source.ip": { glob: "10.*" } }, action: "allow" }],
        policies: [
          {
            id: "p",
            roles: ["r"],
            rules: [
              { when: { "source.transport": { eq: "http" } }, action: "allow" },
              { when: { "source.loopback": { eq: true } }, action: "allow" },
              // Does not apply to requests through the proxy.
              { when: { "source.loopback": { eq: true }, "source.forwarded": { eq: false } }, action: "allow" },
            ],
          },
        ],
      }),
    );
    return warnings.filter(({ message }) => message.includes("address of the proxy")).map(({ path }) => path);
  };
  expect(warned(true)).toEqual([
    "auth.keys[0].cidrs",
    'rules[0].when["source.ip"]',
    'policies[0].rules[1].when["source.loopback"]',
  ]);
  expect(warned(false)).toEqual([]);
});

test("R3: without keys, roles for everybody are enough on loopback", () => {
  const { config, warnings } = loadText("auth: { type: none, roles: [reader] }");
  expect(config.auth).toMatchObject({ type: "none", roles: ["reader"] });
  expect(warnings.map(({ path }) => path)).not.toContain("auth.keys");
});

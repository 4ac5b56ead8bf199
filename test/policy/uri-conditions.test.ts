import { describe, expect, test } from "bun:test";
import type { Route } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import { makeCall, makeRoute } from "../support/call.ts";
import { policyOf, type Rule } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

type Condition = Record<string, unknown>;

const who = { ...principal("key:k1"), keyId: null };
const resource = (name: string): Route => ({ ...makeRoute("files", name), kind: "resource", tool: null });

/** Reports whether a read of the URI is allowed. */
function reads(uri: string, rules: Rule[], guardrails: Rule[] = []): boolean {
  const call = makeCall({ method: "resources/read" });
  Object.assign(call.inbound, { params: { uri } });
  try {
    policyOf(guardrails, { reader: rules }).decide(call, who, resource(uri));
    return true;
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}

const grants = (condition: Condition, uri: string): boolean =>
  reads(uri, [{ when: { "args.uri": condition }, action: "allow" }]);
const forbids = (condition: Condition, uri: string): boolean =>
  !reads(uri, [{ action: "allow" }], [{ when: { "args.uri": condition }, action: "deny" }]);

describe("S27: no spelling of a URI bypasses a condition on it", () => {
  const spelled = [
    "file:///etc/passwd",
    "file:///\tetc/passwd",
    "file:///%65tc/passwd",
    "file:////etc/passwd",
    "file:///\\etc/passwd",
    "file:///srv/../etc/passwd",
    "file:///srv/..%2fetc/passwd",
    "file:///srv/%c0%ae%c0%ae/etc/passwd",
  ];
  const about: Condition[] = [
    { glob: "file:///etc/*" },
    { eq: "file:///etc/passwd" },
    { in: ["file:///etc/passwd", "file:///etc/shadow"] },
    { regex: "^file:///etc/" },
    { neq: "file:///srv/a" },
    { notIn: ["file:///srv/a"] },
  ];
  for (const condition of about)
    test.each(spelled)(`a denial with ${JSON.stringify(condition)} matches %j`, (uri) => {
      expect(forbids(condition, uri)).toBe(true);
    });
  const elsewhere: Condition[] = [
    { glob: "file:///srv/*" },
    { regex: "^file:///srv/" },
    { regex: "^file:///(srv|.%36%35tc|%65tc|/|\\\\|\t)" },
    { neq: "file:///etc/passwd" },
    { notIn: ["file:///etc/passwd"] },
  ];
  for (const condition of elsewhere)
    test.each(spelled)(`an allow with ${JSON.stringify(condition)} does not match %j`, (uri) => {
      expect(grants(condition, uri)).toBe(false);
    });
  test("nor a condition of a rule for resources that also tests other facts", () => {
    const when = { "args.uri": { glob: "file:///etc/*" }, "source.loopback": { eq: true } };
    for (const uri of spelled)
      expect([uri, reads(uri, [{ action: "allow" }], [{ resource: "*", when, action: "deny" }])]).toEqual([uri, false]);
  });
});

describe("S27: no spelling of the authority bypasses a rule", () => {
  const spelled = [
    "notes://private/1",
    "notes:///private/1",
    "notes://./private/1",
    "notes://public/../private/1",
    "notes://public/%2e%2e/private/1",
    "notes://public/..\\private/1",
    "notes://public%2f..%2fprivate/1",
    "notes://PRIVATE/1",
    "notes://%70rivate/1",
    "notes://x@private/1",
    "notes://private:80/1",
  ];
  const glob = "notes://private/*";
  const denials: Rule[] = [
    { resource: glob },
    ...[{ glob }, { regex: "^notes://private/" }, { eq: "notes://private/1" }, { notIn: ["notes://public/1"] }].map(
      (condition) => ({ when: { "args.uri": condition } }),
    ),
  ];
  for (const denial of denials)
    test.each(spelled)(`the denial ${JSON.stringify(denial)} matches %j`, (uri) => {
      expect(reads(uri, [{ action: "allow" }], [{ ...denial, action: "deny" }])).toBe(false);
    });
  const others: Rule[] = [
    { resource: "notes://public/*" },
    ...[{ glob: "notes://public*" }, { regex: "^notes://public" }, { neq: "notes://private/1" }].map((condition) => ({
      when: { "args.uri": condition },
    })),
  ];
  for (const grant of others)
    test.each(spelled)(`the allow ${JSON.stringify(grant)} does not match %j`, (uri) => {
      expect(reads(uri, [{ ...grant, action: "allow" }])).toBe(false);
    });
  test("judge decides like a read, and every allowed resource is listed", () => {
    const policy = policyOf([{ resource: glob, action: "deny" }], { reader: [{ action: "allow" }] });
    const all = [
      ...spelled,
      "notes://public/1",
      "notes://public/a/../private/1",
      "https://private/1",
      "file:///private/1",
    ];
    for (const uri of all) {
      const allowed = !spelled.includes(uri);
      const said = policy.judge(who, null, resource(uri), { uri });
      expect([uri, said.allowed]).toEqual([uri, allowed]);
      expect([uri, policy.lists(who, resource(uri)) || !allowed]).toEqual([uri, true]);
    }
  });
  test("a template that yields only denied URIs is not offered", () => {
    const policy = policyOf([{ resource: glob, action: "deny" }], {
      reader: [{ resource: "notes://*", action: "allow" }],
    });
    const offers = (name: string): boolean => policy.lists(who, { ...resource(name), template: true });
    expect(offers("notes://{folder}/{+id}")).toBe(true);
    expect(offers("notes://private/{+id}")).toBe(false);
  });
});

describe("a condition on an unambiguous URI is taken literally", () => {
  const rows: [condition: Condition, uri: string, holds: boolean][] = [
    [{ glob: "file:///srv/*" }, "file:///srv/My%20File%C3%A9.txt", true],
    [{ glob: "file:///srv/My%20Files/*" }, "file:///srv/My%20Files/a", true],
    [{ glob: "file:///srv/*" }, "db://a", false],
    [{ glob: "db://${principal.consumerId}/*" }, "db://consumer-k1/My%20File", true],
    [{ glob: "db://${principal.consumerId}/*" }, "db://consumer-k2/x", false],
    [{ eq: "file:///srv/My%20File.txt" }, "file:///srv/My%20File.txt", true],
    [{ eq: "db://${principal.consumerId}" }, "db://consumer-k1", true],
    [{ neq: "file:///srv/My%20File.txt" }, "file:///srv/My%20File.txt", false],
    [{ neq: "db://a" }, "db://b", true],
    [{ in: [1, "db://a", "file:///srv/My%20File.txt"] }, "file:///srv/My%20File.txt", true],
    [{ in: ["db://a", "db://b"] }, "db://c", false],
    [{ notIn: [null, "db://b"] }, "db://c", true],
    [{ eq: null }, "db://c", false],
    [{ regex: "^file:///srv/.*[.]txt$" }, "file:///srv/My%20File.txt", true],
    [{ regex: "[.]pdf$" }, "file:///srv/My%20File.txt", false],
    [{ exists: true }, "file:///srv/../x", true],
    [{ exists: false }, "file:///srv/../x", false],
    [{ glob: "file:///*", neq: "file:///a" }, "file:///b", true],
    [{ glob: "file:///*" }, "file:///srv/../x", true],
    [{ glob: "db://*" }, "file:///srv/../x", false],
    [{ glob: "demo://Resource/*" }, "demo://Resource/1", true],
    [{ eq: "demo://Me@Host:80/1" }, "demo://Me@Host:80/1", true],
    [{ glob: "db://${principal.consumerId}@Host/*" }, "db://consumer-k1@Host/a", true],
    [{ glob: "DB://A${principal.consumerId}/*" }, "DB://Aconsumer-k1/a", true],
  ];
  test.each(rows)("%j on %j: %p", (condition, uri, holds) => {
    expect(grants(condition, uri)).toBe(holds);
    expect(forbids(condition, uri)).toBe(holds);
  });
  test("an operand that cannot be compared with a URI never helps the caller", () => {
    for (const condition of [{ eq: 1 }, { neq: 1 }, { in: [] }, { gt: 1 }, { eq: "${principal.keyId}" }])
      expect([grants(condition, "db://a"), condition]).toEqual([false, condition]);
    for (const condition of [{ eq: 1 }, { neq: 1 }, { notIn: [1] }, { lt: 1 }])
      expect([forbids(condition, "db://a"), condition]).toEqual([true, condition]);
  });
  test("a tool's argument named uri is not treated as a resource", () => {
    const policy = policyOf([], { reader: [{ when: { "args.uri": { glob: "file:///srv/*" } }, action: "allow" }] });
    const args = { uri: "file:///srv/../x" };
    expect(policy.judge(who, null, makeRoute("files", "open"), args)).toMatchObject({ allowed: true });
  });
  test("a template is judged by all URIs that it can yield", () => {
    const route: Route = { ...resource("file:///srv/{name}"), template: true };
    const judged = (glob: string): boolean =>
      policyOf([], { reader: [{ when: { "args.uri": { glob } }, action: "allow" }] }).judge(who, null, route, {
        uri: route.name,
      }).allowed;
    expect([judged("file:///srv/*"), judged("file:///srv/a*"), judged("file:///srv/{name}")]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

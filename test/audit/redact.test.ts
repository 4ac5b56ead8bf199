import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { commitmentTo } from "../../src/audit/chain.ts";
import { maskPath, maskPaths } from "../../src/audit/mask-paths.ts";
import { createRedactor, partBytes } from "../../src/audit/redact.ts";
import { fastest } from "../support/fastest.ts";

setDefaultTimeout(30_000);

const paths = (...texts: string[]) => texts.map((text) => maskPath(text.split(".")));
const m = '"[redacted]"';

const masked: [string, string, string[], string][] = [
  ["a member", '{"a":1,"b":"x"}', ["b"], `{"a":1,"b":${m}}`],
  ["an object as a whole", '{"a":{"b":[1,{}]},"c":2}', ["a"], `{"a":${m},"c":2}`],
  ["a nested member", '{"a":{"b":1,"c":2},"b":3}', ["a.b"], `{"a":{"b":${m},"c":2},"b":3}`],
  ["any index", '{"a":[{"s":1},{"s":2,"t":3}]}', ["a.*.s"], `{"a":[{"s":${m}},{"s":${m},"t":3}]}`],
  ["one index", "[1,2,3]", ["1"], `[1,${m},3]`],
  ["an escaped key", '{"p\\u0061ss":"x"}', ["pass"], `{"p\\u0061ss":${m}}`],
  ["spaces kept", '{ "a" : 1 , "b" : 2 }', ["a"], `{ "a" : ${m} , "b" : 2 }`],
  ["brackets in strings", '{"x":"}]\\"{","a":1}', ["a"], `{"x":"}]\\"{","a":${m}}`],
  ["a text cut off inside the value", '{"a":1,"b":"secr', ["b"], `{"a":1,"b":${m}`],
  ["numbers as written", '{"n":12345678901234567890,"a":1.10}', ["b"], '{"n":12345678901234567890,"a":1.10}'],
  ["JSON in a string", '{"a":"{\\"b\\":1,\\"c\\":2}"}', ["a.b"], `{"a":${JSON.stringify(`{"b":${m},"c":2}`)}}`],
  ["JSON in a string, after a space", '{"a":" {\\"b\\":1}"}', ["a.b"], `{"a":${JSON.stringify(` {"b":${m}}`)}}`],
  ["JSON in a string, untouched", '{"a":"{ \\"c\\" : 2}"}', ["a.b"], '{"a":"{ \\"c\\" : 2}"}'],
  ["a string that is not JSON", '{"a":"{b"}', ["a.b"], '{"a":"{b"}'],
  ["JSON in a string that was cut off", '{"a":"{\\"c\\":1,\\"b\\":\\"sec', ["a.b"], `{"a":${m}`],
  ["members in another case", '{"A":{"B":1},"a":{"b":2}}', ["a.b"], `{"A":{"B":${m}},"a":{"b":${m}}}`],
  ["a path that leads nowhere", '{"a":1}', ["a.b", "c"], '{"a":1}'],
];
for (const [name, text, at, out] of masked) {
  test(`redact paths: ${name}`, () => expect(maskPaths(text, paths(...at))).toBe(out));
}

test("redact paths: in any JSON, masks exactly the value that JSON.parse finds at the path", () => {
  const value = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.jsonValue({ maxDepth: 3 }));
  fc.assert(
    fc.property(value, fc.constantFrom(1, undefined), (object, indent) => {
      const wanted = structuredClone(object);
      if ("a" in wanted) wanted["a"] = "[redacted]";
      const out = maskPaths(JSON.stringify(object, null, indent), paths("a"));
      expect(JSON.parse(out)).toEqual(JSON.parse(JSON.stringify(wanted)));
    }),
  );
});

/** A JSON text to generate; objects may repeat a key, and a `wrapped` value becomes JSON in a string. */
type Tree = { number: boolean } | { wrapped: Tree } | { elements: Tree[] } | { members: [Key, Tree][] };
type Key = { key: string; escaped: boolean };

const keys = fc.constantFrom("a", "b", "0", "1", 'c"');
const trees = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 6, depthSize: "small" },
    fc.record({ number: fc.boolean() }),
    fc.record({ wrapped: tie("tree") }),
    fc.record({ elements: fc.array(tie("tree"), { maxLength: 3 }) }),
    fc.record({ members: fc.array(fc.tuple(fc.record({ key: keys, escaped: fc.boolean() }), tie("tree"))) }),
  ),
})).tree;
const somePaths = fc.array(fc.array(fc.oneof(keys, fc.constant("*")), { minLength: 1, maxLength: 4 }), {
  minLength: 1,
  maxLength: 3,
});
const spaces = fc.constantFrom("", " ", "\n\t");

/** Returns the tree as JSON. The value at a path is `cover`, or without one "hidden" or 7, which occur nowhere else. */
function written(tree: Tree, at: readonly string[][], space: string, cover: string | null): string {
  const isHidden = at.some((path) => path.length === 0);
  if (isHidden && cover !== null) return cover;
  const below = (key: string) => at.filter(([first]) => first === "*" || first === key).map((path) => path.slice(1));
  const inner = (value: Tree, key: string) => written(value, isHidden ? [[]] : below(key), space, cover);
  const listed = (parts: string[]) => space + parts.join(`${space},${space}`) + space;
  if ("wrapped" in tree) return JSON.stringify(space + written(tree.wrapped, at, space, cover) + space);
  if ("elements" in tree) return `[${listed(tree.elements.map((value, index) => inner(value, String(index))))}]`;
  if ("members" in tree) {
    return `{${listed(tree.members.map(([key, value]) => `${keyText(key)}${space}:${space}${inner(value, key.key)}`))}}`;
  }
  if (tree.number) return isHidden ? "7" : "1";
  return isHidden ? '"hidden"' : '"x"';
}

function keyText({ key, escaped }: Key): string {
  if (!escaped) return JSON.stringify(key);
  return `"${key.replace(/./g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`)}"`;
}

test("R17 redact paths: masks exactly the values that a path leads to, however they are written", () => {
  fc.assert(
    fc.property(trees, somePaths, spaces, (tree, at, space) => {
      expect(maskPaths(written(tree, at, space, null), at.map(maskPath))).toBe(written(tree, at, space, m));
    }),
    { numRuns: 2000 },
  );
});

test("R17 redact paths: reveals no part of the value at a path, wherever the text was cut off", () => {
  fc.assert(
    fc.property(trees, somePaths, spaces, (tree, at, space) => {
      const text = written(tree, at, space, null);
      for (let end = 0; end < text.length; end += 1) {
        expect(maskPaths(text.slice(0, end), at.map(maskPath))).not.toMatch(/h|7/);
      }
    }),
    { numRuns: 500 },
  );
});

test("redact paths: never fails or hangs on text that is not JSON", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const out = maskPaths(text, paths("a.b", "*"));
      expect(typeof out).toBe("string");
    }),
  );
});

const secret = "s3cr3t-value-of-a-server";
const redactor = createRedactor({ payloads: "redacted", redact: ["args.pin"] }, () => [secret, 'quo"ted-secret']);
const bodyOf = (text: string, kind: "args" | "result" = "args") => redactor.part(kind, text).sealed?.body ?? "";

const hidden: Record<string, string> = {
  "a known secret": `{"q":"${secret}"}`,
  "a known secret spelled with escapes": `{"q":"s3cr3t\\u002dvalue\\u002dof-a-server"}`,
  "a known secret with a quote": '{"q":"quo\\"ted-secret"}',
  "an API key of this gateway": '{"q":"mgw_live_abcd1234AAAABBBBCCCCDDDD"}',
  "a GitHub token": '{"q":"use ghp_abcdefghijklmnopqrstuvwxyz012345"}',
  "a GitHub token spelled with an escape": '{"q":"\\u0067hp_abcdefghijklmnopqrstuvwxyz012345"}',
  "an AWS key": '{"q":"AKIAABCDEFGHIJKLMNOP"}',
  "a JWT": '{"q":"eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"}',
  "a bearer header": '{"h":"Authorization: Bearer abcdef0123456789"}',
  "a password in a URL": '{"u":"https://bob:hunter2hunter2@example.org"}',
  "a labelled password": '{"user":"x","db_password":"hunter2"}',
  "a labelled cookie": '{"set-cookie":"hunter2"}',
  "a labelled credential": '{"credential":"hunter2"}',
  "a labelled password in JSON inside a string": JSON.stringify({ text: JSON.stringify({ password: "hunter2" }) }),
  "a labelled password with quotes, two strings deep": JSON.stringify({
    text: JSON.stringify({ body: JSON.stringify({ api_key: 'hun"ter\\', token: 'x"hunter2\\"hunter2' }, null, 1) }),
  }),
  "a known secret with a quote in JSON inside a string": JSON.stringify({ text: JSON.stringify('quo"ted-secret') }),
  "a password labelled in camel case": '{"dbPassword":"hunter2","secretKey":"hunter2","refreshToken":"hunter2"}',
  "labelled headers in a list": '{"headers":{"authorization":["Token hunter2", "Token hunter2"],"a":["b"]}}',
  "a labelled list in JSON inside a string": JSON.stringify({
    text: JSON.stringify({ cookie: ["hunter2", "hunter2"] }),
  }),
  "a token in the query of a URL": '{"u":"https://example.org/?a=b&access_token=hunter2hunter2&c=d"}',
  "a password in a connection string": '{"u":"Server=db;Password=hunter2hunter2;"}',
  "a secret in quotes in a command": '{"cmd":"login --password=\'hunter2hunter2\'"}',
  "a secret in a command": '{"cmd":"AWS_SECRET_ACCESS_KEY=hunter2hunter2 aws s3 ls"}',
  "a private key": '{"k":"-----BEGIN RSA PRIVATE KEY-----\\nMIIabc\\n-----END RSA PRIVATE KEY-----"}',
  "a configured path": '{"pin":1234}',
};
const traces = /s3cr3t|quo.+ted|AAAABBBB|ghp_|AKIA|eyJhb|abcdef0|hunter2|MIIabc|1234}/;
for (const [name, text] of Object.entries(hidden)) {
  test(`R17 redact: ${name} is not stored`, () => {
    expect(bodyOf(text)).not.toMatch(traces);
    expect(bodyOf(text)).toContain("[redacted]");
  });
}

/** As written by JSON encoders that emit only ASCII, or that escape for HTML. */
const inAscii = (text: string) => text.replace(/[\u007f-\uffff]/g, escapeOf);
const forHtml = (text: string) => text.replace(/[<>&'=+]/g, (char) => escapeOf(char).toUpperCase().replace("U", "u"));
const byNumber = (text: string) =>
  text.replace(/(?<!\\)\\(?:n|u001b)/g, (escape) => (escape === "\\n" ? "\\u000A" : "\\u001B"));
const escapeOf = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;

const secretsOfAllKinds = [
  "pässwort-für-🔑",
  "postgres://u/db?a=b&c=<d>'e'",
  "YWJj/ZGVm+Z2hp==",
  'a"b\\c&d',
  "schlüssel\nzwei",
  "an-escape\u001bin-it",
];
test.each(secretsOfAllKinds)("R17 redact: the secret %p is not stored, however a program encodes it", (value) => {
  const { part, text } = createRedactor({ payloads: "full", redact: [] }, () => [value]);
  const spelled = [
    JSON.stringify,
    (of: unknown) => inAscii(JSON.stringify(of)),
    (of: unknown) => forHtml(JSON.stringify(of)),
    (of: unknown) => byNumber(JSON.stringify(of)),
  ];
  const payloads = spelled.flatMap((inner) =>
    spelled.flatMap((outer) => [outer({ a: value }), outer({ text: inner({ a: value, b: "é" }) })]),
  );
  payloads.push(JSON.stringify({ url: `https://x/?q=${encodeURIComponent(value)}` }));
  for (const payload of payloads) {
    const body = part("result", payload).sealed?.body ?? "";
    expect(body.replaceAll("\\", "")).toMatch(/\{"a":"\[redacted\]"|\?q=\[redacted\]"/);
    expect(text(payload)).toBe(body);
  }
});

test("R17 redact: no rest of a secret remains if another secret is its prefix, and an empty secret is ignored", () => {
  const { text } = createRedactor({ payloads: "full", redact: [] }, () => ["", "abcdefgh", "abcdefgh-more"]);
  expect(text("x abcdefgh-more y abcdefgh")).toBe("x [redacted] y [redacted]");
});

test("redact: harmless arguments stay unchanged, character for character", () => {
  const said = "the token ring, a basic idea\\n\\u00e9; if (token==='x') secret=>y; tokens=1000&token=${TOKEN}";
  const text = `{"id":12345678901234567890,"text":"${said}","tokens":"many","list":[1.10]}`;
  expect(bodyOf(text)).toBe(text);
});

test("redact: at most 64 KiB are stored, cut between characters, and the full length is kept", () => {
  const text = `"${"é".repeat(50_000)}"`;
  const part = redactor.part("result", text);
  expect(part.length).toBe(100_002);
  expect(part.cut).toBe(true);
  const body = part.sealed?.body ?? "";
  expect(Buffer.byteLength(body)).toBeLessThanOrEqual(65_536);
  expect(Buffer.byteLength(body)).toBeGreaterThan(65_532);
  expect(text.startsWith(body)).toBe(true);
});

test("redact: no part of a secret across the end of the stored text remains", () => {
  for (let before = partBytes - secret.length - 2; before < partBytes + 2; before += 5) {
    expect(bodyOf(`"${"x".repeat(before)}${secret}"`)).not.toContain("s3cr3t");
  }
});

test("redact: no part of a long secret remains if most of it is beyond the end of the stored text", () => {
  const key = Array.from({ length: 800 }, (_, line) => `line-${line}-of-the-key`).join("+");
  const redact = createRedactor({ payloads: "redacted", redact: [] }, () => [key]);
  for (let before = partBytes - key.length; before < partBytes + 8_192; before += 511) {
    const text = `"${"x".repeat(before)} ${key} ${"z".repeat(20_000)}"`;
    expect(redact.part("result", text).sealed?.body).not.toContain("of-the-key");
  }
});

test("redact: masks inside nested JSON leave it valid JSON and keep the other values", () => {
  const beside = { a: 'say "hi"', n: 1.5 };
  for (let depth = 0; depth < 4; depth += 1) {
    for (const value of ["hunter2", 'hun"ter2', "hunter2\\", '\\"', ""]) {
      let text = JSON.stringify({ password: value, ...beside });
      for (let level = 0; level < depth; level += 1) text = JSON.stringify({ text });
      let out: unknown = JSON.parse(bodyOf(text));
      for (let level = 0; level < depth; level += 1) {
        const { text: inner } = out as { text: string }; // as it was wrapped above
        out = JSON.parse(inner);
      }
      expect(out).toEqual({ password: "[redacted]", ...beside });
    }
  }
});

test("redact: half a secret at the end of the examined text is not stored, however much was masked before it", () => {
  const long = `"password":"${"x".repeat(20_000)}",`;
  for (let before = 48_400; before < 49_700; before += 7) {
    const text = `{${long}"q":"${"y".repeat(before)}${secret}${"z".repeat(4000)}"}`;
    expect(bodyOf(text)).not.toMatch(/s3cr3t(?!-value-of-a-server)/);
  }
});

test("redact: the commitment covers the stored bytes with its own salt", () => {
  const fresh = createRedactor({ payloads: "redacted", redact: [] }, () => [secret]);
  // More than the generator draws at once.
  const sealed = Array.from({ length: 600 }, () => fresh.part("args", hidden["a JWT"] ?? "").sealed);
  const salts = sealed.map((one) => one?.salt ?? new Uint8Array());
  expect(new Set(salts.map(({ length }) => length))).toEqual(new Set([32]));
  expect(new Set(salts.map((salt) => salt.toBase64())).size).toBe(600);
  expect(sealed.map((one) => one?.commitment)).toEqual(
    salts.map((salt, at) => commitmentTo(salt, sealed[at]?.body ?? "-")),
  );
});

test("redact: mode none has no commitment, digest stores nothing, full masks only known secrets", () => {
  const at = (payloads: "none" | "digest" | "full") =>
    createRedactor({ payloads, redact: ["args.pin"] }, () => [secret]).part(
      "args",
      `{"pin":1,"k":"${secret}","j":"Bearer abcdefgh"}`,
    );
  expect(at("none")).toEqual({ sealed: null, length: 62, cut: false });
  expect(at("digest").sealed).toMatchObject({ body: "" });
  expect(at("full").sealed?.body).toBe(`{"pin":${m},"k":"[redacted]","j":"Bearer abcdefgh"}`);
});

test("redact: texts crafted to be slow are not slow", () => {
  const evil = [
    "eyJ",
    "eyJaaaaa.",
    '"',
    '"a_',
    "://",
    "-----BEGIN PRIVATE KEY-----",
    "sk-",
    '{"',
    "[",
    "\\",
    '"token":"',
    '\\"token\\":\\"\\\\',
    '"token":\\',
    "\\u00",
  ].map((unit) => unit.repeat(Math.ceil(70_000 / unit.length)));
  evil.push(`${"\\".repeat(70_000)}u`, `${"\\".repeat(69_999)}u`);
  const both = createRedactor({ payloads: "redacted", redact: ["args.*.x"] }, () => [secret]);
  for (const text of evil) expect(fastest(() => both.part("args", text))).toBeLessThan(250);
});

test("R17 redact: a secret that becomes known later is masked from then on, however its slashes are written", () => {
  let secrets = ["first/secret/value"];
  const redactor = createRedactor({ payloads: "full", redact: [] }, () => secrets);
  const shown = (text: string) => redactor.part("args", text).sealed?.body;
  const later = '{"a":"second\\/secret\\/value"}';
  expect([shown('{"a":"first\\/secret\\/value"}'), shown(later)]).toEqual([
    `{"a":${m}}`,
    '{"a":"second/secret/value"}',
  ]);
  secrets = [...secrets, "second/secret/value"];
  expect(shown(later)).toBe(`{"a":${m}}`);
});

test("R17 redact: credentials in other texts, such as error messages, are masked by their form", () => {
  const { text } = createRedactor({ payloads: "full", redact: [] }, () => []);
  expect(text(`refused: ghp_${"a1B2".repeat(9)} is no token`)).not.toContain("a1B2");
});

test("redact paths: the result in a finished task is masked like that of any call", () => {
  const { part } = createRedactor({ payloads: "redacted", redact: ["result.content.ssn"] }, () => []);
  const state = '{"taskId":"t","status":"completed","result":{"content":{"ssn":"1"},"ssn":"2"}}';
  expect(part("result", state).sealed?.body).toBe(state.replace('"1"', m));
});

test("redact paths: the arguments of a call and of a call nested in it are masked; for any other call only its own", () => {
  const { part } = createRedactor({ payloads: "full", redact: ["args.Pin"] }, () => []);
  const text = '{"pin":"1","arguments":{"pin":"2"}}';
  const shown = [true, false].map((nested) => part("args", text, nested).sealed?.body);
  expect(shown).toEqual([`{"pin":${m},"arguments":{"pin":${m}}}`, `{"pin":${m},"arguments":{"pin":"2"}}`]);
});

test("redact: a text is marked as cut exactly if it was cut, whatever its length", () => {
  const { part } = createRedactor({ payloads: "full", redact: [] }, () => []);
  const cut = [0, 1, 4096, 4097, 100_000].map((more) => part("result", "x".repeat(partBytes + more)).cut);
  expect(cut).toEqual([false, true, true, true, true]);
});

test("redact: half a surrogate pair is stored as a replacement character, so that the commitment matches the text as read", () => {
  const { sealed } = createRedactor({ payloads: "full", redact: [] }, () => []).part("args", '"\ud83d"');
  const read = Buffer.from(sealed?.body ?? "").toString();
  expect(sealed?.commitment).toBe(commitmentTo(sealed?.salt ?? new Uint8Array(), read));
  expect(sealed?.body).toBe(read);
});

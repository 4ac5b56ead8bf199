import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { createResolver, SecretError } from "../../src/secrets/index.ts";
import { TempDir } from "../support/temp-dir.ts";

const temp = new TempDir();
afterAll(() => temp[Symbol.dispose]());
writeFileSync(temp.path("token"), "file-secret-1\n");
writeFileSync(temp.path("big"), "x".repeat(70_000));
writeFileSync(temp.path("binary"), "a\0b");
writeFileSync(temp.path("latin"), Buffer.from("pässword", "latin1"));
writeFileSync(temp.path("spaced"), " secret-2 \n\r\n");

const env = { TOKEN: "env-secret-1", PORT: "8080", PIN: "493817", EMPTY: "", NESTED: "${TOKEN}" };
const resolve = createResolver({ env, credentialsDirectory: temp.dir, directory: temp.dir });

const rows: [text: string, value: string, secrets: string[]][] = [
  ["plain", "plain", []],
  ["${TOKEN}", "env-secret-1", ["env-secret-1"]],
  ["Bearer ${TOKEN}!", "Bearer env-secret-1!", ["env-secret-1"]],
  ["${TOKEN} ${TOKEN}", "env-secret-1 env-secret-1", ["env-secret-1"]],
  ["${PORT}", "8080", []],
  ["${PIN}", "493817", ["493817"]],
  ["${TOKEN:-fallback}", "env-secret-1", ["env-secret-1"]],
  ["${NO:-fallback}", "fallback", []],
  ["${EMPTY:-fallback}", "fallback", []],
  ["${NO:-}", "", []],
  ["${EMPTY}", "", []],
  ["${NESTED}", "${TOKEN}", ["${TOKEN}"]],
  ["$${TOKEN}", "${TOKEN}", []],
  ["a$b $ {", "a$b $ {", []],
  ["${principal.consumerId}", "${principal.consumerId}", []],
  ["${file:token}", "file-secret-1", ["file-secret-1"]],
  ["${file:spaced}", " secret-2 \n", [" secret-2 \n"]],
  ["${credential:token}", "file-secret-1", ["file-secret-1"]],
];

test.each(rows)("R17: %p becomes %p", (text, value, known) => {
  expect(resolve(text)).toEqual({ value, secrets: known });
});

test.each([
  ["${NOPE}", "NOPE is not set"],
  ["${file:missing}", "ENOENT"],
  ["${file:.}", "regular file"],
  ["${file:big}", "64 KiB"],
  ["${file:binary}", "binary"],
  ["${file:latin}", "UTF-8"],
  ["${credential:../token}", "not a reference"],
  ["${credential:..}", "not a valid credential name"],
  ["${A-B}", "not a reference"],
  ["${}", "not a reference"],
  ["${TOKEN", "closing brace"],
])("R17: %p is refused", (text, message) => {
  expect(() => resolve(text)).toThrow(SecretError);
  expect(() => resolve(text)).toThrow(message);
});

test("R17: outside a systemd unit, the error about a credential says what to do", () => {
  for (const credentialsDirectory of [undefined, "", "."]) {
    const inShell = createResolver({ env: {}, directory: temp.dir, credentialsDirectory });
    expect(() => inShell("${credential:db}")).toThrow("LoadCredential=db");
  }
});

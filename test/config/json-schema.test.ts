import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { initText } from "../../src/config/init.ts";
import { jsonSchema } from "../../src/config/json-schema.ts";
import { loadText } from "../support/config.ts";

const example = readFileSync(join(import.meta.dir, "../../gateway.example.yaml"), "utf8");

type Node = {
  properties?: Record<string, Node>;
  items?: Node;
  additionalProperties?: Node | boolean;
  anyOf?: Node[];
  description?: string;
  default?: unknown;
};

/** Returns every node of the schema by its path, with `[]` for entries and `*` for free names. */
function places(node: Node, path = ""): Map<string, string | undefined> {
  const found = new Map(path && !path.endsWith("[]") ? [[path, node.description]] : []);
  const add = (below: Node, name: string): void => {
    for (const [key, text] of places(below, name)) found.set(key, found.get(key) ?? text);
  };
  for (const [key, below] of Object.entries(node.properties ?? {})) add(below, path ? `${path}.${key}` : key);
  for (const option of node.anyOf ?? []) add(option, path);
  if (node.items) add(node.items, `${path}[]`);
  if (typeof node.additionalProperties === "object") add(node.additionalProperties, `${path}.*`);
  return found;
}

/** Returns every path that a document uses. */
function used(value: unknown, path = ""): string[] {
  if (Array.isArray(value)) return [path, ...value.flatMap((item) => used(item, `${path}[]`))];
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, item]) => used(item, path ? `${path}.${key}` : key))];
}

const all = places(jsonSchema() as Node);

test("every key has a description", () => {
  expect([...all].filter(([, text]) => text === undefined).map(([path]) => path)).toEqual([]);
});

test("the default of a duration or size is shown as a file would write it", () => {
  const { limits, audit, servers } = (jsonSchema() as Node).properties ?? {};
  expect(limits?.properties?.["body"]?.default).toBe("4MiB");
  expect(audit?.properties?.["checkpointEvery"]?.properties?.["interval"]?.default).toBe("10s");
  const shapes = servers?.items?.anyOf ?? [];
  expect(shapes.length).toBeGreaterThan(1);
  for (const shape of shapes) expect(shape.properties?.["timeout"]?.default).toBe("30s");
});

test("the schema accepts what the program accepts, and refuses an unknown key", () => {
  const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(jsonSchema());
  for (const text of [example, initText(null), initText({ npx: true })]) {
    validate(parse(text));
    expect(validate.errors ?? []).toEqual([]);
  }
  expect(validate({ lisen: {} })).toBe(false);
});

test("the schema accepts a reference for any value, and refuses other strings", () => {
  const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(jsonSchema());
  const key = { id: "${I:-a}", keyHash: "${H}", consumerId: "${C:-c}", roles: ["r"], expiresAt: "${E}" };
  const value = {
    limits: { burst: "${B:-3}", body: "${S}" },
    gateway: { tools: "${T}" },
    log: { level: "${L}" },
    auth: { keys: [{ ...key, enabled: "${O:-true}" }] },
    servers: [{ id: "a", url: "https://${HOST}/mcp", maxInstances: "${M}", timeout: "${W}" }],
  };
  validate(value);
  expect(validate.errors ?? []).toEqual([]);
  for (const wrong of [{ limits: { burst: "lots" } }, { log: { level: "loud" } }, { gateway: { tools: "maybe" } }])
    expect(validate(wrong)).toBe(false);
});

test("the example file loads and shows every option that is not an older spelling", () => {
  const env = { AGENT_KEY: "pQ7xT2mK9vL4wN8zR3cF6hJ1bD5gS0yA", FILES_TOKEN: "x", CRM_KEY: "y" };
  expect(loadText(example, { env, file: "/etc/mcpgw/gateway.yaml" }).warnings.map(({ path }) => path)).toEqual([]);
  const shown = new Set(
    used(parse(example)).map((path) => path.replace(/\.(env|headers|when|rename)\.[^.]+(\.[^.]+)?/, shorten)),
  );
  const older = /^(rateLimit|metering)\b|^audit\.(enabled|hashChain)$|^auth\.(methods|roles)\b/;
  const rule = /^(rules|policies\[\]\.rules)\[\]\.(.+)$/;
  const missing = [...all.keys()].filter((path) => {
    if (older.test(path) || shown.has(path)) return false;
    const [, , rest] = rule.exec(path) ?? [];
    // A rule has the same keys in both places, so one of them is enough.
    return !rest || !["rules[]", "policies[].rules[]"].some((place) => shown.has(`${place}.${rest}`));
  });
  expect(missing).toEqual([]);
});

// Free names count as `*`; a condition's subject contains a dot itself.
function shorten(_: string, group: string, rest?: string): string {
  return group === "when" ? ".when.*" : `.${group}.*${rest ?? ""}`;
}

import type { Tool } from "../core/call.ts";
import { isObject } from "../core/json.ts";

type Shape = (value: unknown) => boolean;

const text: Shape = (value) => typeof value === "string";
const flag: Shape = (value) => typeof value === "boolean";
const oneOf =
  (...values: readonly string[]): Shape =>
  (value) =>
    values.some((one) => one === value);

/** An object in which these members, if present, are as described; others may stand beside them. */
const object =
  (members: Readonly<Record<string, Shape>> = {}): Shape =>
  (value) =>
    isObject(value) && Object.entries(members).every(([name, fits]) => value[name] === undefined || fits(value[name]));

const icon: Shape = (value) => isObject(value) && text(value["src"]);

/** Members of a tool's definition beside its inputSchema, as all revisions have them (schema: Tool). */
const shapes: Readonly<Record<string, { readonly fits: Shape; readonly what: string }>> = {
  title: { fits: text, what: "a string" },
  description: { fits: text, what: "a string" },
  outputSchema: { fits: object(), what: "a schema" },
  annotations: {
    fits: object({
      title: text,
      readOnlyHint: flag,
      destructiveHint: flag,
      idempotentHint: flag,
      openWorldHint: flag,
    }),
    what: "an object of hints",
  },
  execution: {
    fits: object({ taskSupport: oneOf("required", "optional", "forbidden") }),
    what: "an object that says how it runs",
  },
  icons: { fits: (value) => Array.isArray(value) && value.every(icon), what: "a list of icons" },
  _meta: { fits: object(), what: "an object" },
};

/** Why clients would refuse a tool's definition, and with it every list that contains it; null if they would not. */
export function definitionFault(tool: Tool): string | null {
  const definition: unknown = JSON.parse(tool.text);
  if (!isObject(definition)) return "its definition is no object";
  for (const [name, { fits, what }] of Object.entries(shapes)) {
    if (definition[name] !== undefined && !fits(definition[name])) return `its ${name} is not ${what}`;
  }
  return null;
}

import { isObject } from "../core/json.ts";
import type { ListName } from "../core/lists.ts";
import { editMembers } from "./edit.ts";
import { elements, finite, members, wellFormed } from "./json-text.ts";

/** Returns the part of raw JSON that clients can read, or null; reports each fault with the path of its value. */
type Shape = (text: string, path: string, tell: (fault: string) => void) => string | null;

const value =
  (what: string, fits: (value: unknown) => boolean): Shape =>
  (text, path, tell) => {
    if (fits(JSON.parse(text))) return text;
    tell(`${path} is not ${what}`);
    return null;
  };

/** An object whose members have these shapes if they are present; other members are allowed. */
const object =
  (what: string, shapes: Readonly<Record<string, Shape>>, needed?: string): Shape =>
  (text, path, tell) => {
    if (!text.startsWith("{")) return value(what, isObject)(text, path, tell);
    const found = members(text);
    const edits: Record<string, string | null> = {};
    for (const { key, value: span } of found) {
      const shape = Object.hasOwn(shapes, key) ? shapes[key] : undefined;
      const written = text.slice(...span);
      const kept = shape?.(written, path === "its" ? `its ${key}` : `${path}.${key}`, tell);
      if (kept !== undefined && kept !== written) edits[key] = kept;
    }
    if (needed !== undefined && !found.some(({ key }) => key === needed && edits[key] !== null)) {
      tell(path === "its" ? `it has no ${needed}` : `${path} has no ${needed}`);
      return null;
    }
    return editMembers(text, found, edits);
  };

/** A list without its unreadable elements. Only the faults of the first one are reported, since there may be many. */
const list =
  (what: string, shape: Shape): Shape =>
  (text, path, tell) => {
    if (!text.startsWith("[")) return value(what, Array.isArray)(text, path, tell);
    const faults: string[] = [];
    const written = elements(text, 0).map((span) => text.slice(...span));
    const kept = written.flatMap((element, at) => {
      const first = faults.length === 0;
      return shape(element, `${path}[${at}]`, (fault) => void (first && faults.push(fault))) ?? [];
    });
    faults.forEach(tell);
    return faults.length === 0 ? text : `[${kept.join(",")}]`;
  };

const text = value("a string", (each) => typeof each === "string");
const flag = value("true or false", (each) => typeof each === "boolean");
/** A size that all clients read: some accept no fraction, exponent or sign, and no more than 64 bits. */
const size: Shape = (text, path, tell) => {
  if (/^\d{1,15}$/.test(text)) return text;
  tell(`${path} is not a whole number of at most 15 digits`);
  return null;
};
const fraction = value("a number from 0 to 1", (each) => typeof each === "number" && each >= 0 && each <= 1);
const texts = value("a list of strings", (each) => Array.isArray(each) && each.every((one) => typeof one === "string"));
const oneOf = (...known: readonly unknown[]): Shape =>
  value(`one of ${known.join(", ")}`, (each) => known.includes(each));
const roles = value(
  "a list of user and assistant",
  (each) => Array.isArray(each) && each.every((one) => one === "user" || one === "assistant"),
);

const instant =
  /^(\d{4})-(0[1-9]|1[0-2])-(\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;
const time = value("a date and time with its offset", (each) => {
  const [, year, month, day] = (typeof each === "string" && instant.exec(each)) || [];
  const last = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  return Number(day) >= 1 && Number(day) <= last;
});

const unreadable: Shape = (_text, path, tell) => {
  tell(`${path} has a name that some clients cannot read`);
  return null;
};

const ambiguous: Shape = (_text, path, tell) => {
  tell(`${path} may belong to another schema, which clients would use instead`);
  return null;
};

/** An object with any members except `constructor`: clients on Zod 3 refuse an object that has it. */
const record = object("an object", { constructor: unreadable });

/** Members that the entries of all lists have. */
const shared = {
  title: text,
  description: text,
  icons: list(
    "a list of icons",
    object("an icon", { src: text, mimeType: text, sizes: texts, theme: oneOf("light", "dark") }, "src"),
  ),
  _meta: record,
};
const annotations = object("an object", { audience: roles, priority: fraction, lastModified: time });
const content = { ...shared, name: text, mimeType: text, annotations };

/** Definitions as the official clients read them, across all revisions (schema: Tool, Prompt, Resource …). */
const shapes: Readonly<Record<ListName, Shape>> = {
  tools: object("an object", {
    ...shared,
    inputSchema: object("a schema", { properties: record }),
    outputSchema: object("a schema", { $schema: text, $id: ambiguous, properties: record }),
    annotations: object("an object of hints", {
      title: text,
      readOnlyHint: flag,
      destructiveHint: flag,
      idempotentHint: flag,
      openWorldHint: flag,
    }),
    execution: object("an object", { taskSupport: oneOf("required", "optional", "forbidden") }),
  }),
  prompts: object("an object", {
    ...shared,
    arguments: list(
      "a list of arguments",
      object("an object", { name: text, title: text, description: text, required: flag }, "name"),
    ),
  }),
  resources: object("an object", { ...content, size }, "name"),
  resourceTemplates: object("an object", content, "name"),
};

/** The part of a definition that clients can read, null if there is none, and what is wrong with the rest. */
type Readable = { readonly text: string | null; readonly faults: readonly string[] };

/**
 * Removes from a definition what the official clients cannot read, since they refuse a whole list for one such member.
 * Everything else stays as written. The text must be valid JSON without duplicate keys.
 */
export function readable(definition: string, list: ListName): Readable {
  const faults: string[] = [];
  const whole = wellFormed(definition);
  if (whole !== definition) faults.push("it has an unpaired surrogate");
  const bounded = finite(whole);
  if (bounded !== whole) faults.push("a number in it is larger than clients can read");
  const kept = shapes[list](bounded, "its", (fault) => void faults.push(fault));
  return { text: kept, faults };
}

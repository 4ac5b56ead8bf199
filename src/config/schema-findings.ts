import type { z } from "zod";
import { type Finding, type Path, valueAt } from "../core/finding.ts";
import { nearest } from "../core/nearest.ts";
import { cut, plain } from "../core/text.ts";
import { keysAt } from "./json-schema.ts";
import { serverShapes } from "./schema.ts";
import { wrongType } from "./issue-text.ts";

type Issue = z.core.$ZodIssue;
type Shape = keyof typeof serverShapes;

/** Converts the issues of the schema to findings with messages for the author of the file. */
export function schemaFindings(issues: readonly Issue[], value: unknown, base: Path = []): Finding[] {
  return issues.flatMap((issue): Finding[] => {
    const path = [...base, ...issue.path];
    if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(path, key, value));
    if (issue.code === "invalid_union") return isServer(path) ? server(path, issue, value) : union(path, issue, value);
    return [{ path, message: issue.message, key: issue.code === "invalid_key" }];
  });
}

function unknownKey(path: Path, key: string, value: unknown): Finding {
  const known = isServer(path) ? serverKeys(valueAt(value, path)) : keysAt(path);
  const guess = nearest(key, known);
  const elsewhere = isServer(path) ? shapeWith(key) : null;
  const shown = plain(cut(key, 60));
  const help = elsewhere
    ? `only servers with \`${elsewhere}\` have it`
    : guess
      ? `did you mean ${guess}?`
      : `known keys: ${known.join(", ")}`;
  return { path: [...path, key], key: true, message: `unknown key ${JSON.stringify(shown)}; ${help}` };
}

function isServer(path: Path): boolean {
  return path.length === 2 && path[0] === "servers";
}

const shapeNames = Object.keys(serverShapes).filter((key): key is Shape => key in serverShapes);

function shapesOf(entry: unknown): Shape[] {
  return typeof entry === "object" && entry !== null ? shapeNames.filter((name) => name in entry) : [];
}

function serverKeys(entry: unknown): string[] {
  const [shape] = shapesOf(entry);
  return shape ? Object.keys(serverShapes[shape].shape) : shapeNames;
}

function shapeWith(key: string): Shape | null {
  return shapeNames.find((name) => key in serverShapes[name].shape) ?? null;
}

function server(path: Path, issue: z.core.$ZodIssueInvalidUnion, value: unknown): Finding[] {
  const entry = valueAt(value, path);
  if (typeof entry !== "object" || entry === null) return [{ path, message: wrongType(["object"], entry) }];
  const shapes = shapesOf(entry);
  const [shape] = shapes;
  if (!shape) {
    const mistyped = Object.keys(entry).find((key) => !shapeWith(key) && nearest(key, shapeNames));
    if (mistyped !== undefined) return [unknownKey(path, mistyped, value)];
    return [{ path, message: "set one of command, url or builtin, which say what kind of server it is" }];
  }
  if (shapes.length > 1) return [{ path, message: `${shapes.join(" and ")} are mutually exclusive; keep one` }];
  return schemaFindings(issue.errors[shapeNames.indexOf(shape)] ?? [], value, path);
}

// The union member whose type matches has the best message; if none matches, every accepted type is named.
function union(path: Path, issue: z.core.$ZodIssueInvalidUnion, value: unknown): Finding[] {
  const isTypeOnly = ([first]: Issue[]): boolean => first?.code === "invalid_type" && first.path.length === 0;
  const fitting = issue.errors.find((errors) => !isTypeOnly(errors));
  if (fitting) return schemaFindings(fitting, value, path);
  const wanted = issue.errors.flatMap(([first]) => (first?.code === "invalid_type" ? [first.expected] : []));
  return [{ path, message: wrongType(wanted, valueAt(value, path)) }];
}

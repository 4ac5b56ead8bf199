import { isObject } from "./json.ts";

/** A replacer for JSON.stringify that writes the members of every object in the order of their names. */
export const sortKeys = (_key: string, value: unknown): unknown =>
  isObject(value) ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))) : value;

import { orNull, thrownBy } from "./attempt.ts";

/** Reports whether a text is one JSON value. */
export const isJson = (text: string): boolean => thrownBy(() => JSON.parse(text)) === null;

/** Returns the object that a JSON text holds; null for any other text. */
export function parseObject(text: string): Record<string, unknown> | null {
  const value = orNull<unknown>(() => JSON.parse(text));
  return isObject(value) ? value : null;
}

/** Like `parseObject`, but returns an empty object for any other text. */
export const objectIn = (text: string): Record<string, unknown> => parseObject(text) ?? {};

/** Narrows to a JSON object as returned by JSON.parse. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A replacer for JSON.stringify that sorts the members of every object by name. */
export const sortKeys = (_key: string, value: unknown): unknown =>
  isObject(value) ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))) : value;

import { orNull, thrownBy } from "./attempt.ts";

/** Whether a text is one JSON value. */
export const isJson = (text: string): boolean => thrownBy(() => JSON.parse(text)) === null;

/** The object that a text holds as JSON; null for every other text. */
export function parseObject(text: string): Record<string, unknown> | null {
  const value = orNull<unknown>(() => JSON.parse(text));
  return isObject(value) ? value : null;
}

/** The same, but empty for every other text. */
export const objectIn = (text: string): Record<string, unknown> => parseObject(text) ?? {};

/** Narrows to a JSON object, as JSON.parse makes it. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A replacer for JSON.stringify that writes the members of every object in the order of their names. */
export const sortKeys = (_key: string, value: unknown): unknown =>
  isObject(value) ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))) : value;

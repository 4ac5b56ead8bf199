import { expect, test } from "bun:test";
import { readSource } from "../../src/config/document.ts";
import { loadText, refusal } from "../support/config.ts";

const resolve = (text: string) => ({ value: text.replace("${PORT}", "8080"), secrets: [] });

test("references are replaced in values, never in keys", () => {
  expect(readSource('"${PORT}": "${PORT}"', "f", resolve).value()).toEqual({ "${PORT}": "8080" });
});

test("only substituted values are read as the number or boolean that they look like", () => {
  const env = { PAGE: "50", ON: "false" };
  const server = (enabled: string) => `servers: [{ id: a, command: x, enabled: "${enabled}" }]`;
  expect(loadText('limits: { page: "${PAGE}" }', { env }).config.limits.page).toBe(50);
  expect(loadText(server("${ON}"), { env }).config.servers[0]?.enabled).toBe(false);
  for (const text of ['limits: { page: "50" }', server("false")])
    expect(refusal(text, { env }).message).toContain("expected");
});

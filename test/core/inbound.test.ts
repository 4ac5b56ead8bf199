import { expect, test } from "bun:test";
import { acceptsQuestions, clientKind, isAsSevere, logLevels } from "../../src/core/inbound.ts";

test.each([
  ["debug", "debug", true],
  ["info", "debug", true],
  ["info", "notice", false],
  ["emergency", "alert", true],
  ["alert", "emergency", false],
] as const)("a log message of level %s passes a minimum of %s: %p", (level, least, passes) => {
  expect(isAsSevere(level, least)).toBe(passes);
});

test.each(["", "shouting", "ERROR", 5, null, undefined])("an unknown level (%p) passes no minimum", (level) => {
  expect(logLevels.filter((least) => isAsSevere(level, least))).toEqual([]);
});

const ui = "io.modelcontextprotocol/ui";
const html = "text/html;profile=mcp-app";

test.each([
  [{}, {}],
  [{ experimental: { a: 1 }, tasks: {} }, {}],
  [
    { sampling: null, roots: { listChanged: true } },
    { roots: {}, sampling: {} },
  ],
  [{ sampling: { tools: { a: 1 }, context: {} } }, { sampling: { tools: {} } }],
  [{ elicitation: {} }, { elicitation: {} }],
  [{ elicitation: { url: 1, form: { applyDefaults: true } } }, { elicitation: { form: {}, url: {} } }],
  [{ elicitation: ["url"] }, { elicitation: {} }],
  [
    { extensions: { [ui]: { mimeTypes: ["text/plain", html], a: 1 }, other: {} } },
    { extensions: { [ui]: { mimeTypes: [html] } } },
  ],
  [{ extensions: { [ui]: { mimeTypes: html } } }, {}],
  [{ extensions: { [ui]: {} } }, {}],
  [{ extensions: null }, {}],
])("the kind of a client that declares %j is %j", (value, kind) => {
  const capabilities = { text: JSON.stringify(value), value };
  expect(clientKind(capabilities)).toBe(JSON.stringify(kind));
  expect(acceptsQuestions(capabilities)).toBe(Object.keys(kind).some((name) => name !== "extensions"));
});

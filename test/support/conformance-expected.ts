import type { Expected } from "./conformance.ts";

// Where the gateway differs from what stands behind it, and why; an entry without a difference fails the test.

/** Each entry for the same reason. */
const because = (reason: string, ...entries: readonly string[]): Expected =>
  Object.fromEntries(entries.map((entry) => [entry, reason]));

const notBuilt = "not built yet";

const legacyGaps = because(
  notBuilt,
  "completion-complete",
  "elicitation-sep1034-defaults",
  "elicitation-sep1330-enums",
  "logging-set-level",
  "prompts-get-embedded-resource",
  "prompts-get-simple",
  "prompts-get-with-args",
  "prompts-get-with-image",
  "prompts-list",
  "resources-list",
  "resources-read-binary",
  "resources-read-text",
  "resources-subscribe",
  "resources-templates-read",
  "resources-unsubscribe",
  "server-sse-multiple-streams:server-sse-streams-functional",
  "server-sse-polling",
  "tools-call-elicitation",
  "tools-call-sampling",
  "tools-call-with-logging",
);

const modernGaps = because(
  notBuilt,
  "caching",
  "completion-complete",
  "input-required-result-basic-elicitation",
  "input-required-result-basic-list-roots",
  "input-required-result-basic-sampling",
  "input-required-result-capability-check",
  "input-required-result-missing-input-response",
  "input-required-result-multi-round",
  "input-required-result-multiple-input-requests",
  "input-required-result-non-tool-request",
  "input-required-result-request-state",
  "input-required-result-result-type",
  "input-required-result-tampered-state",
  "input-required-result-validate-input",
  "prompts-get-embedded-resource",
  "prompts-get-simple",
  "prompts-get-with-args",
  "prompts-get-with-image",
  "prompts-list",
  "resources-list",
  "resources-read-binary",
  "resources-read-text",
  "resources-templates-read",
  "sep-2164-resource-not-found",
  "server-stateless:sep-2575-missing-capability-http-400",
  "server-stateless:sep-2575-server-honors-notification-filter",
  "server-stateless:sep-2575-server-rejects-undeclared-capability",
  "server-stateless:sep-2575-server-sends-prompts-list-changed-on-subscription",
  "server-stateless:sep-2575-server-sends-subscription-ack",
  "server-stateless:sep-2575-server-sends-tools-list-changed-on-subscription",
  "server-stateless:sep-2575-server-tags-subscription-id",
);

const tasks = [
  "tasks-capability-negotiation",
  "tasks-dispatch-and-envelope",
  "tasks-lifecycle",
  "tasks-mrtr-composition",
  "tasks-mrtr-input",
  "tasks-request-headers",
  "tasks-request-state-removal",
  "tasks-required-task-error",
  "tasks-wire-fields",
];

/** The suite's client against the gateway, in front of a fixture that speaks the same era. */
export const sameEra = {
  "2025-11-25": legacyGaps,
  "2026-07-28": { ...modernGaps, ...because(notBuilt, ...tasks) },
} as const;

/** The same where the fixture speaks only the other era, so that the gateway translates. */
export const otherEra = {
  "2025-11-25": legacyGaps,
  "2026-07-28": { ...modernGaps, ...because("tasks are an extension of the newer era", ...tasks) },
} as const;

const noOAuth = "the gateway obtains no tokens from its servers' authorization servers yet";

const oauth = because(
  noOAuth,
  "auth/basic-cimd",
  "auth/client-credentials-basic",
  "auth/client-credentials-jwt",
  "auth/dpop",
  "auth/dpop-nonce",
  "auth/enterprise-managed-authorization",
  "auth/metadata-default",
  "auth/metadata-var1",
  "auth/metadata-var2",
  "auth/metadata-var3",
  "auth/pre-registration",
  "auth/scope-from-scopes-supported",
  "auth/scope-from-www-authenticate",
  "auth/scope-omitted-when-undefined",
  "auth/scope-retry-limit",
  "auth/scope-step-up",
  "auth/token-endpoint-auth-basic",
  "auth/token-endpoint-auth-none",
  "auth/token-endpoint-auth-post",
  "auth/wif-jwt-bearer",
);

const newerOAuth = because(
  noOAuth,
  "auth/authorization-server-migration",
  "auth/iss-normalized",
  "auth/iss-not-advertised",
  "auth/iss-supported",
  "auth/iss-supported-missing",
  "auth/iss-unexpected",
  "auth/iss-wrong-issuer",
  "auth/metadata-issuer-mismatch",
  "auth/offline-access-not-supported",
  "auth/offline-access-scope",
  "auth/resource-mismatch",
);

/** What the suite's server finds wrong with the gateway as its client. */
export const client = {
  "2025-11-25": { ...oauth, ...because(notBuilt, "elicitation-sep1034-client-defaults", "sse-retry") },
  "2026-07-28": {
    ...oauth,
    ...newerOAuth,
    ...because(notBuilt, "sep-2322-client-request-state"),
    ...because(
      "the gateway tries the older handshake first, and cannot be told yet that a server is of the newer era",
      "http-standard-headers",
      "request-metadata",
    ),
    ...because(
      "null for an optional argument does not fit the tool's schema, so the gateway refuses the call",
      "http-custom-headers:sep-2243-client-omit-null",
    ),
    ...because(
      "the gateway lets the annotation stand on type number, as the library does",
      "http-invalid-tool-headers:sep-2243-x-mcp-header-primitive-only",
    ),
  },
} as const satisfies Record<string, Expected>;

import type { Expected } from "./conformance.ts";

// Where the gateway differs from the server behind it, and why; an entry without a difference fails the test.

/** Returns entries that share one reason. */
const because = (reason: string, ...entries: readonly string[]): Expected =>
  Object.fromEntries(entries.map((entry) => [entry, reason]));

const polling = {
  ...because(
    "the gateway keeps a caller's stream open although its server closed its own and was asked again",
    "server-sse-polling:server-sse-disconnect-resume",
  ),
  ...because(
    "the Java SDK before 2.1.0 gives a stream up over a retry field",
    "server-sse-polling:server-sse-retry-field",
  ),
};

const unnamed = because(
  "the questions of an older server have no names that a newer client could look for",
  "input-required-result-basic-elicitation",
  "input-required-result-ignore-extra-params",
);

const undeclared = because(
  "an older server that asks what its client cannot answer is refused, and its answer to that is the call's",
  "server-stateless:sep-2575-missing-capability-http-400",
  "server-stateless:sep-2575-server-rejects-undeclared-capability",
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

/** Differences of the gateway in front of a fixture that speaks the same era as the suite's client. */
export const sameEra = {
  "2025-11-25": polling,
  "2026-07-28": {},
} as const;

/** The same for a fixture that speaks only the other era, so that the gateway translates. */
export const otherEra = {
  "2025-11-25": polling,
  "2026-07-28": {
    ...unnamed,
    ...undeclared,
    ...because("tasks are an extension of the newer era", ...tasks),
  },
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

/** What the suite's server reports about the gateway as its client. */
export const client = {
  "2025-11-25": oauth,
  "2026-07-28": { ...oauth, ...newerOAuth },
} as const;

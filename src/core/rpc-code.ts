/** Codes of JSON-RPC errors: those of JSON-RPC itself, then those of MCP. */
export const rpcCodes = {
  parseError: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internalError: -32603,
  /** The first of the codes that servers may use as they like. */
  serverError: -32000,
  /** In use by custom; no revision names it. */
  sessionNotFound: -32001,
  /** Before 2026-07-28. */
  resourceNotFound: -32002,
  /** A modern server's refusal of a request for its hop (2026-07-28): headers that differ from the body, … */
  headerMismatch: -32020,
  /** … a capability that the client did not declare, … */
  missingCapability: -32021,
  /** … an unsupported revision. */
  unsupportedVersion: -32022,
  /** A legacy server's request to visit URLs before the call is made again (2025-11-25, URL elicitation). */
  urlElicitation: -32042,
} as const;

/** JSON-RPC error codes: those of JSON-RPC itself, then those of MCP. */
export const rpcCodes = {
  parseError: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internalError: -32603,
  /** The first code of the range that servers may define for themselves. */
  serverError: -32000,
  /** In common use, but not defined by any revision. */
  sessionNotFound: -32001,
  /** Before 2026-07-28. */
  resourceNotFound: -32002,
  /** A modern server refuses a request at its own hop (2026-07-28): the headers differ from the body. */
  headerMismatch: -32020,
  /** The same, for a capability that the client did not declare. */
  missingCapability: -32021,
  /** The same, for an unsupported revision. */
  unsupportedVersion: -32022,
  /** A legacy server asks the client to visit URLs before it repeats the call (2025-11-25, URL elicitation). */
  urlElicitation: -32042,
} as const;

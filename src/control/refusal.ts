import { rpcCodes } from "../core/rpc-code.ts";

/** The codes of refused operations, with their JSON-RPC codes on the control socket. */
const codes = {
  "parse-error": rpcCodes.parseError,
  "invalid-request": rpcCodes.invalidRequest,
  "unknown-operation": rpcCodes.methodNotFound,
  /** The input is invalid: a usage error. */
  invalid: rpcCodes.invalidParams,
  internal: rpcCodes.internalError,
  denied: -31403,
  "not-found": -31404,
  conflict: -31409,
  busy: -31429,
  unavailable: -31503,
} as const;

export type RefusalCode = keyof typeof codes;

const byNumber = new Map<number, RefusalCode>(
  Object.entries(codes).map(([code, number]) => [number, code as RefusalCode]), // keys of the table above
);

/** The only error that operations throw on purpose; the operator sees its message. */
export class Refusal extends Error {
  readonly code: RefusalCode;

  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = "Refusal";
    this.code = code;
  }

  get rpc(): number {
    return codes[this.code];
  }

  static fromRpc(rpc: number, message: string): Refusal {
    return new Refusal(byNumber.get(rpc) ?? "internal", message);
  }
}

/** A daemon on the control socket that does not answer: it is stopped or hangs. */
export class Unanswered extends Error {
  override readonly name = "Unanswered";
}

/** No daemon on the control socket. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

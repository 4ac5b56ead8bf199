import { rpcCodes } from "../core/rpc-code.ts";

/** Every way in which an operation can be refused, and its JSON-RPC code on the control socket. */
const codes = {
  "parse-error": rpcCodes.parseError,
  "invalid-request": rpcCodes.invalidRequest,
  "unknown-operation": rpcCodes.methodNotFound,
  /** The input is wrong: a usage error. */
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

/** The only error that operations throw on purpose; the operator sees its sentence. */
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

  /** The refusal that a JSON-RPC error stands for. */
  static fromRpc(rpc: number, message: string): Refusal {
    return new Refusal(byNumber.get(rpc) ?? "internal", message);
  }
}

/** Somebody listens on the control socket and says nothing: a daemon that is stopped, or hangs. */
export class Unanswered extends Error {
  override readonly name = "Unanswered";
}

/** Nobody answers on the control socket. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

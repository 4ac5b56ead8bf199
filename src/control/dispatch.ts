import type { z } from "zod";
import { issueText } from "../config/issue-text.ts";
import type { ActType } from "../core/event.ts";
import { nearest } from "../core/nearest.ts";
import { operations, type Name, type Row } from "./api.ts";
import type { Context, Handlers, Plan } from "./contract.ts";
import { Refusal } from "./refusal.ts";

function describe(issue: z.core.$ZodIssue): string {
  const where = issue.path.join(".");
  const what = issue.code === "unrecognized_keys" ? `unknown member ${issue.keys.join(", ")}` : issue.message;
  return where ? `${where}: ${what}` : what;
}

/** Checks the input of an operation and fills in defaults. Throws a `Refusal` that names each wrong path. */
export function parseInput(name: Name, input: unknown): Record<string, unknown> {
  const parsed = operations[name].input.safeParse(input, { error: issueText });
  if (!parsed.success) throw new Refusal("invalid", `${name}: ${parsed.error.issues.map(describe).join("; ")}`);
  return parsed.data;
}

/** Reports whether an operation with this input is an act, which requires an administrator. */
function isAct({ access, adminWhen }: Row, input: Record<string, unknown>): boolean {
  return access === "admin" || (adminWhen !== undefined && Boolean(input[adminWhen]));
}

/** Throws a `Refusal` if the peer may not use the operation; `acts` means that it requires an administrator. */
function permit(name: Name, acts: boolean, { peer }: Context): void {
  if (peer.access === "attach")
    throw new Refusal(
      "denied",
      `uid ${peer.uid} may only attach with an API key; other operations need membership in control.adminGroup or control.readGroup`,
    );
  if (acts && peer.access !== "admin")
    throw new Refusal("denied", `${name} requires an administrator; uid ${peer.uid} may only read`);
}

/**
 * Runs one operation for a peer: checks the name, input and permission, and records an act. Resolves to the answer, or
 * to the events of a stream. Throws a `Refusal`.
 */
export async function dispatch(handlers: Handlers, method: string, params: unknown, ctx: Context): Promise<unknown> {
  if (!Object.hasOwn(operations, method)) {
    const near = nearest(method, Object.keys(operations));
    throw new Refusal("unknown-operation", `unknown operation "${method}"${near ? `; did you mean ${near}?` : ""}`);
  }
  const name = method as Name; // checked just now
  const input = parseInput(name, params);
  const row: Row = operations[name];
  const acts = isAct(row, input);
  permit(name, acts, ctx);
  // The table pairs each name with its input and handler; TypeScript loses that pairing in a lookup by name.
  const handler = handlers[name] as (input: unknown, ctx: Context) => unknown;
  if (!row.recorded || !("before" in row.recorded)) return handler(input, ctx);
  const plan = (await handler(input, ctx)) as Plan<ActType, unknown>; // as above
  if (acts) await handlers.recordAct(ctx, row.recorded.before, plan.facts);
  return plan.run();
}

/** Reports whether the result of `dispatch` is the events of a stream. */
export const areEvents = (outcome: unknown): outcome is AsyncIterable<unknown> =>
  typeof outcome === "object" && outcome !== null && Symbol.asyncIterator in outcome;

import type { z } from "zod";
import { issueText } from "../config/issue-text.ts";
import type { ActType } from "../core/event.ts";
import { nearest } from "../core/nearest.ts";
import { operations, type Name, type Row } from "./api.ts";
import type { Context, Handlers, Plan } from "./contract.ts";
import { Refusal } from "./refusal.ts";

function describe(issue: z.core.$ZodIssue): string {
  const where = issue.path.join(".");
  const what = issue.code === "unrecognized_keys" ? `nothing here is called ${issue.keys.join(" or ")}` : issue.message;
  return where ? `${where}: ${what}` : what;
}

/** The input of an operation, checked and with its defaults. Throws a `Refusal` that names each wrong path. */
export function parseInput(name: Name, input: unknown): Record<string, unknown> {
  const parsed = operations[name].input.safeParse(input, { error: issueText });
  if (!parsed.success) throw new Refusal("invalid", `${name}: ${parsed.error.issues.map(describe).join("; ")}`);
  return parsed.data;
}

/** Whether an operation with this input is an act, which takes an administrator. */
function isAct({ access, adminWhen }: Row, input: Record<string, unknown>): boolean {
  return access === "admin" || (adminWhen !== undefined && Boolean(input[adminWhen]));
}

/** Throws a `Refusal` if the peer lacks the right to an operation, or to one that `acts`. */
function permit(name: Name, acts: boolean, { peer }: Context): void {
  if (peer.access === "attach")
    throw new Refusal(
      "denied",
      `uid ${peer.uid} may only attach with an API key; more is for the groups of control.adminGroup and control.readGroup`,
    );
  if (acts && peer.access !== "admin")
    throw new Refusal("denied", `${name} takes an administrator; uid ${peer.uid} may only read`);
}

/**
 * Runs one operation for a peer: it is known and permitted, its input is checked, an act is recorded. Resolves with the
 * answer, of a stream with its events. Throws a `Refusal`.
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

/** Whether what `dispatch` resolved with are the events of a stream. */
export const areEvents = (outcome: unknown): outcome is AsyncIterable<unknown> =>
  typeof outcome === "object" && outcome !== null && Symbol.asyncIterator in outcome;

import type { Route, Tool } from "../../src/core/call.ts";
import { createValidator } from "../../src/validate/validate.ts";
import { makeCall, makeRoute, makeTool } from "./call.ts";
import { failureOf } from "./failure.ts";
import { stillClock } from "./principal.ts";

type Schema = Tool["inputSchema"];

/** Returns a validator and functions to check arguments against a schema. */
export function setUp() {
  const validator = createValidator(stillClock());
  const check = (schema: Schema, args: unknown, route: Route = makeRoute("crm", "get", schema)) =>
    validator.check(makeCall({ args }), route);
  const wrong = (schema: Schema, args: unknown) => failureOf(() => check(schema, args));
  return {
    validator,
    check,
    wrong,
    refuses: (schema: Schema) => validator.refuses(makeTool("get", schema)),
  };
}

/** Returns a schema of objects. */
export const object = (more: Record<string, unknown>) => ({ type: "object", ...more });
/** Returns a schema of objects with a member `a`. */
export const prop = (schema: unknown) => object({ properties: { a: schema } });

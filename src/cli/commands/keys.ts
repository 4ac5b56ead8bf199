import { ignoredConfigHint, thisHost } from "../../config/paths.ts";
import { messageOf } from "../../core/error-text.ts";
import { network, perMinute, plainId } from "../../core/options.ts";
import { formatRate, rateText } from "../../core/rate.ts";
import type { Answer } from "../../control/api.ts";
import type { Client } from "../../control/contract.ts";
import type { KeyView } from "../../control/schemas.ts";
import type { Cli } from "../cli.ts";
import { command, group } from "../command.ts";
import { exit, Failed, UsageError } from "../errors.ts";
import { type Color, type Output, whole } from "../output.ts";
import { line, moment } from "../../control/format.ts";
import { futureTime } from "../when.ts";

type Made = Answer<"keys.create">;

const stateColor: Readonly<Record<KeyView["state"], Color>> = {
  active: "green",
  expired: "yellow",
  disabled: "dim",
  revoked: "red",
};

/** Shows a new key, which is possible only once; if it cannot be printed, it is revoked again. */
async function showNewKey({ frozen, ...made }: Made, client: Client, cli: Cli): Promise<void> {
  if (frozen) cli.out.warn("all callers are frozen, so this key is refused until you run `mcpgw keys unfreeze`");
  for (const role of made.idleRoles) {
    cli.out.warn(`no policy names the role ${role}, so it grants nothing`);
  }
  try {
    await showMade(made, cli);
  } catch (error) {
    const { id } = made;
    const cause = messageOf(error);
    await client.call("keys.revoke", { id }).catch((kept: unknown) => {
      const neither = `key ${id} could neither be shown (${cause}) nor revoked again (${messageOf(kept)})`;
      throw new Failed(exit.failed, `${neither}: run \`mcpgw keys revoke ${id}\``);
    });
    throw new Failed(exit.failed, `the key could not be shown, so it was revoked again: ${cause}`);
  }
}

async function showMade(made: Omit<Made, "frozen">, { out }: Cli): Promise<void> {
  if (out.json) return out.document(made);
  await out.print(made.key);
  const until = made.expiresAt === null ? "does not expire" : `expires ${moment(made.expiresAt)}`;
  const from = made.cidrs.length > 0 ? `, only from ${made.cidrs.join(", ")}` : "";
  // A daemon of an older version does not send it.
  const rate = typeof made.perMinute === "number" ? `, ${rateText(made.perMinute)}` : "";
  const whose = `for consumer ${made.consumerId}, roles ${made.roles.join(", ")}`;
  out.say(`key ${made.id} (${made.name}) ${whose}${rate}${from}; ${until}`);
  out.say("The key is shown only once. Send it as `Authorization: Bearer …` or `X-API-Key: …`, or set MCPGW_API_KEY.");
}

type Schema<T> = {
  safeParse(value: unknown): { success: true; data: T } | { success: false; error: { issues: { message: string }[] } };
};

/** Parses a command-line value with a schema; throws a `UsageError` if it is invalid. */
function valueOf<T>(argument: string, schema: Schema<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new UsageError(`${argument}: ${parsed.error.issues[0]?.message ?? "not valid"}`);
}

/** Splits a list and removes duplicates. An empty list is an error: a key without networks would be usable anywhere. */
function list(argument: string, text: string): string[] {
  const all = text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
  if (all.length === 0) throw new UsageError(`${argument}: "${text}" is an empty list`);
  return [...new Set(all)];
}

const rateOf = (text: string): number => valueOf("--rate", perMinute, /^\d+$/.test(text) ? Number(text) : text);

const networksOf = (text: string): string[] =>
  list("--cidr", text).map((part) => valueOf(`--cidr ${part}`, network, part));

const create = command({
  summary: "Create an API key and print it once",
  args: {
    name: { type: "positional", required: true, description: "what the key is for" },
    consumer: {
      type: "positional",
      required: true,
      description: "the consumer that its calls are counted and limited for",
    },
    roles: { type: "positional", required: true, description: "roles, separated by commas" },
    expires: {
      type: "string",
      valueHint: "TIME",
      description: "90d from now, or a date or time (local unless it has an offset)",
    },
    rate: { type: "string", valueHint: "RATE", description: "a rate limit for this key, for example 60/m" },
    cidr: { type: "string", valueHint: "CIDR,…", description: "networks it may be used from" },
  },
  async run({ name, consumer, roles, expires, rate, cidr }, cli) {
    const input = {
      name,
      consumerId: valueOf("CONSUMER", plainId, consumer),
      roles: list("ROLES", roles),
      expiresAt: futureTime("--expires", expires),
      perMinute: rate === undefined ? null : rateOf(rate),
      cidrs: cidr === undefined ? [] : networksOf(cidr),
    };
    const client = await cli.open({ offline: true });
    await showNewKey(await client.call("keys.create", input), client, cli);
  },
});

const listKeys = command({
  summary: "List API keys, without their secrets",
  args: {},
  async run(_args, { out, open }) {
    const client = await open({ offline: true });
    const answer = await client.call("keys.list", {});
    if (out.json) return out.document(answer);
    const rows = answer.keys.map((key) => [
      whole(key.id),
      { text: key.state, color: stateColor[key.state] },
      whole(key.consumerId),
      key.roles.join(","),
      whole(key.expiresAt === null ? "never" : moment(key.expiresAt)),
      whole(key.lastUsedAt ? moment(key.lastUsedAt) : "-"),
      key.perMinute === null ? "-" : formatRate(key.perMinute),
      key.cidrs.join(",") || "any",
      key.source,
      key.name,
    ]);
    await out.table(
      ["ID", "STATE", "CONSUMER", "ROLES", "EXPIRES", "LAST USED", "RATE", "FROM", "SOURCE", "NAME"],
      rows,
    );
    if (rows.length === 0) out.say("there are no keys; create one with `mcpgw keys create NAME CONSUMER ROLES`");
    if (answer.frozen) out.say("all keys are frozen; `mcpgw keys unfreeze` ends the freeze", "red");
  },
});

function warnUnrecorded(answer: { readonly recorded: boolean }, { online }: Client, out: Output): void {
  if (answer.recorded) return;
  const owed = "the gateway records it as soon as it can write to disk; see `mcpgw status`";
  const never = "the audit log cannot be written";
  out.warn(`done, but not yet recorded: ${online ? owed : never}`);
}

/**
 * Returns the exit code of a change. Key commands may not read `./gateway.yaml`, so a daemon that runs with it may not
 * have been reached; scripts see only the exit code, so it reports failure then.
 */
function exitOf({ online }: Client, { globals, out }: Cli): number {
  if (online || ignoredConfigHint(thisHost(), globals) === "") return exit.done;
  out.warn(
    "a daemon that runs with the gateway.yaml in this directory may not know of the change; repeat it with --config",
  );
  return exit.failed;
}

const revoke = command({
  summary: "Revoke a key and end its open streams at once",
  args: { id: { type: "positional", required: true, description: "the key's id" } },
  async run({ id }, cli) {
    const { out } = cli;
    const client = await cli.open({ offline: true });
    const answer = await client.call("keys.revoke", { id });
    warnUnrecorded(answer, client, out);
    await (out.json ? out.document(answer) : out.print(line(`revoked ${answer.id}`)));
    return exitOf(client, cli);
  },
});

const rotate = command({
  summary: "Revoke a key and print a new one with the same rights",
  args: { id: { type: "positional", required: true, description: "the key's id" } },
  async run({ id }, cli) {
    const client = await cli.open({ offline: true });
    const made = await client.call("keys.rotate", { id });
    // Printed before the new key: if that cannot be shown, the consumer has no key left.
    cli.out.say(`key ${id} is revoked`);
    await showNewKey(made, client, cli);
  },
});

/** The success messages of a command that acted through a daemon, or on the state directory if no daemon answered. */
type Done = { readonly online: string; readonly offline: string };

const freezing = (name: "freeze" | "unfreeze", summary: string, done: Done) =>
  command({
    summary,
    args: {},
    async run(_args, cli) {
      const { out } = cli;
      const client = await cli.open({ offline: true });
      const answer = await client.call(`keys.${name}`, {});
      warnUnrecorded(answer, client, out);
      await (out.json ? out.document(answer) : out.print(client.online ? done.online : done.offline));
      return exitOf(client, cli);
    },
  });

export const keys = group("Create, list and revoke API keys", {
  create,
  list: listKeys,
  revoke,
  rotate,
  freeze: freezing("freeze", "Refuse every caller at once", {
    online: "frozen: every caller is refused until `mcpgw keys unfreeze`",
    offline: "frozen: a gateway that uses this state directory refuses every caller until `mcpgw keys unfreeze`",
  }),
  unfreeze: freezing("unfreeze", "End a freeze", {
    online: "callers are served again",
    offline: "the freeze has ended: a gateway that uses this state directory serves callers again",
  }),
});

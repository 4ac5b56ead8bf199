import type { Answer } from "../../control/api.ts";
import { Refusal, Unanswered, Unreachable } from "../../control/refusal.ts";
import { within } from "../../core/wait.ts";
import type { Cli } from "../cli.ts";
import { command } from "../command.ts";
import type { Cell, Color } from "../output.ts";
import { moment, number } from "../../control/format.ts";
import { wholeNumber } from "../when.ts";
import { serverTable } from "./servers.ts";

type Status = Answer<"status">;

/** The color while the gateway is not ready; in the state `ready`, the cause is a fault. */
const stateColor: Record<Status["state"], Color> = { ready: "red", starting: "yellow", draining: "yellow" };

const stateText = ({ notReady }: Status): string => (notReady === null ? "ready" : `not ready: ${notReady}`);

/** Minimum time to answer, in ms, for a daemon that is asked just before the deadline. */
const minAnswerMs = 1_000;

async function ask(cli: Cli, deadline: number | null = null): Promise<Status> {
  const patience = () => (deadline === null ? null : Math.max(deadline - performance.now(), minAnswerMs));
  const client = await cli.open({ patience: patience() ?? undefined });
  try {
    return await within(client.call("status", {}), patience(), null, () => {
      throw new Unanswered("the daemon has stopped answering");
    });
  } finally {
    client.close();
  }
}

/** Reports whether a retry may help: no daemon is there yet, or it is busy. One that hangs has used up all the time. */
const isRetryable = (error: unknown): error is Error =>
  error instanceof Unreachable || (error instanceof Refusal && error.code === "busy");

/** Polls until the daemon is ready; throws the last reason once the time is up. */
async function waitReady(cli: Cli, seconds: number): Promise<Status> {
  const deadline = performance.now() + seconds * 1_000;
  for (;;) {
    let reason: Error;
    try {
      const status = await ask(cli, deadline);
      if (status.notReady === null) return status;
      reason = new Refusal("unavailable", `the daemon is not ready after ${seconds} s: ${status.notReady}`);
    } catch (error) {
      if (!isRetryable(error)) throw error;
      reason = error;
    }
    if (performance.now() >= deadline) throw reason;
    await Bun.sleep(50);
  }
}

function facts(status: Status): [string, Cell][] {
  const { audit } = status;
  const checkpoint = audit.checkpoint;
  return [
    ["state", { text: stateText(status), color: status.notReady === null ? "green" : stateColor[status.state] }],
    ["version", `${status.version}, pid ${status.pid}, since ${moment(status.startedAt)}`],
    ["listen", status.listen.join("  ") || "-"],
    ["config", status.config ?? "-"],
    ["state directory", status.stateDir],
    [
      "authentication",
      status.frozen ? { text: `${status.auth}, frozen: every caller is refused`, color: "red" } : status.auth,
    ],
    [
      "limits",
      status.limits === "none" ? "none" : `${status.limits} (a \`serve\` without a daemon counts its own calls only)`,
    ],
    [
      "audit",
      `${audit.durability}, chain ${audit.chain}, ${number(audit.durable)} of ${number(audit.records)} records durable, payloads ${audit.payloads}, on failure ${audit.onFailure}`,
    ],
    [
      "checkpoint",
      checkpoint
        ? `${number(checkpoint.size)} records, ${moment(checkpoint.at)}, ${checkpoint.source}`
        : { text: "none yet", color: "yellow" },
    ],
    ["sandbox", status.sandbox],
  ];
}

export const status = command({
  summary: "Show the state of the gateway; with --wait, wait until it is ready",
  args: { wait: { type: "string", valueHint: "SECONDS", description: "maximum time to wait until it is ready" } },
  async run({ wait }, cli) {
    const seconds = wholeNumber("--wait", wait, 0, 86_400);
    const { out } = cli;
    const answer = seconds === undefined ? await ask(cli) : await waitReady(cli, seconds);
    if (out.json) return out.document(answer);
    await out.facts(facts(answer));
    await out.print("");
    await serverTable(out, answer.servers);
    for (const warning of answer.warnings) out.warn(warning);
  },
});

import { clock, latency, number } from "../control/format.ts";
import { because, ending, stateTones, subject, toneOf } from "../control/present.ts";
import type { AuditEntry, ConsumerView } from "../control/schemas.ts";
import type { ServerStatus } from "../core/upstream.ts";
import type { Column } from "./table.tsx";

export const callColumns: readonly Column<AuditEntry>[] = [
  { title: "TIME", width: 12, from: 50, text: ({ at }) => clock(at / 1_000), tone: () => "quiet" },
  { title: "CONSUMER", width: 16, from: 64, text: ({ consumer, caller }) => consumer ?? caller ?? "-" },
  { title: "TOOL", grow: 4, text: subject, tone: () => "accent" },
  { title: "STATUS", width: 12, text: ending, tone: (entry) => toneOf(ending(entry)) },
  { title: "TOOK", width: 9, from: 78, right: true, text: ({ us }) => latency(us) },
  { title: "WHY", grow: 5, from: 100, text: because },
];

export const serverColumns: readonly Column<ServerStatus>[] = [
  { title: "SERVER", width: 20, text: ({ id }) => id, tone: () => "accent" },
  { title: "STATE", width: 12, text: ({ state }) => state, tone: ({ state }) => stateTones[state] },
  { title: "TRANSPORT", width: 9, from: 70, text: ({ transport }) => transport },
  { title: "PROTOCOL", width: 10, from: 90, text: ({ revision }) => revision ?? "-" },
  { title: "TOOLS", width: 5, from: 36, right: true, text: ({ tools }) => String(tools) },
  { title: "NOW", width: 5, from: 60, right: true, text: ({ inFlight }) => String(inFlight) },
  { title: "RESTARTS", width: 8, from: 80, right: true, text: ({ restarts }) => String(restarts) },
  { title: "REASON", grow: 1, from: 56, text: ({ reason }) => reason ?? "" },
];

const counted = (value: number | null): string => (value === null ? "-" : number(value));

export const consumerColumns: readonly Column<ConsumerView>[] = [
  { title: "CONSUMER", width: 20, text: ({ consumer }) => consumer, tone: () => "accent" },
  { title: "CALLS 24h", width: 9, right: true, text: ({ calls }) => counted(calls) },
  {
    title: "ERRORS",
    width: 8,
    from: 43,
    right: true,
    text: ({ errors }) => counted(errors),
    tone: ({ errors }) => (errors ? "doubtful" : "quiet"),
  },
  {
    title: "DENIED",
    width: 8,
    from: 34,
    right: true,
    text: ({ denied }) => counted(denied),
    tone: ({ denied }) => (denied ? "bad" : "quiet"),
  },
  { title: "NOW", width: 5, from: 64, right: true, text: ({ inFlight }) => String(inFlight) },
  { title: "KEYS", width: 5, from: 70, right: true, text: ({ keys }) => String(keys) },
  { title: "ROLES", grow: 1, from: 64, text: ({ roles }) => roles.join(", ") },
];

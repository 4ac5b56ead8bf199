import type { Context } from "../../control/api.ts";
import type { Audit, AuditEvent } from "../../core/ports.ts";

type Facts = AuditEvent["facts"];

/** Records an administrative act with who did it, as the kernel knows the peer. */
export type Note = (ctx: Context, type: AuditEvent["type"], facts: Facts) => Promise<void>;

export function noteWith(audit: Pick<Audit, "note">): Note {
  return ({ peer }, type, facts) =>
    audit.note({ type, actor: `local:${peer.uid}`, facts: { ...facts, uid: peer.uid, pid: peer.pid } });
}

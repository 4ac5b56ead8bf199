import { type Revision, revisions } from "../core/inbound.ts";

/** The revision whose messages carry an envelope instead of a handshake. */
export const modernRevision = "2026-07-28" satisfies Revision;
/** The revision offered to a legacy client that asks for an unknown one. */
export const latestLegacy = "2025-11-25" satisfies Revision;
/** The revision assumed for an HTTP request without `MCP-Protocol-Version` (2025-06-18, transports). */
export const assumedLegacy = "2025-03-26" satisfies Revision;

const date = /^\d{4}-\d{2}-\d{2}$/;

/** Whether a value is a supported legacy revision. */
export function isLegacyRevision(value: unknown): value is Revision {
  return revisions.some((revision) => revision === value && !isModern(revision));
}

/** Whether a revision, known or not, belongs to the modern era: its date is not before the first modern one. */
export function isModern(revision: string): boolean {
  return date.test(revision) && revision >= modernRevision;
}

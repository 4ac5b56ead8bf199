import { Failure } from "../core/failure.ts";
import type { Revision } from "../core/inbound.ts";
import { cut, plain } from "../core/text.ts";
import { decodeHeader } from "./headers.ts";
import type { RpcMessage } from "./message.ts";
import { specOf } from "./methods.ts";
import { assumedLegacy, isLegacyRevision } from "./revisions.ts";

// Headers repeat parts of the body. The body is the source of truth, and a request whose header contradicts it is
// refused (2026-07-28, streamable HTTP, server validation). So is a repeated header: Bun joins it with ", ".

/** Returns `MCP-Protocol-Version` as received, or null. */
export function versionHeader(headers: Headers | null): string | null {
  return headers?.get("mcp-protocol-version") ?? null;
}

/** Throws if the version header and the body name different revisions. A missing header is checked later. */
export function checkVersionHeader(headers: Headers, claimed: string): void {
  const header = versionHeader(headers);
  if (header !== null && header !== claimed) throw mismatch("MCP-Protocol-Version", header, claimed);
}

/** Throws if a modern request lacks a standard header or the header contradicts the body. */
export function checkStandardHeaders(headers: Headers, { method, params }: RpcMessage): void {
  if (versionHeader(headers) === null) throw missing("MCP-Protocol-Version");
  const methodHeader = headers.get("mcp-method");
  if (methodHeader === null) throw missing("Mcp-Method");
  if (methodHeader !== method) throw mismatch("Mcp-Method", methodHeader, method);
  const source = specOf(method)?.names;
  const name = source && params[source];
  if (typeof name !== "string") return;
  const nameHeader = headers.get("mcp-name");
  if (nameHeader === null) throw missing("Mcp-Name");
  const decoded = decodeHeader(nameHeader);
  if (decoded === null)
    throw new Failure("header-mismatch", "The header Mcp-Name is not a valid value or Base64 sentinel.");
  if (decoded !== name) throw mismatch("Mcp-Name", decoded, name);
}

/** Returns the revision of a legacy HTTP message. Throws `invalid-request` if the header names an unsupported one. */
export function legacyRevision(headers: Headers, negotiated: Revision | null): Revision {
  const header = versionHeader(headers);
  if (header === null) return negotiated ?? assumedLegacy;
  if (isLegacyRevision(header)) return negotiated ?? header;
  throw new Failure(
    "invalid-request",
    `MCP-Protocol-Version names a revision that is not supported: "${show(header)}"; send the negotiated one.`,
  );
}

const show = (text: string): string => plain(cut(text, 100));

const missing = (header: string): Failure =>
  new Failure("header-mismatch", `The header ${header} is missing; it must repeat the value in the body.`, {
    data: { header },
  });

const mismatch = (header: string, received: string, body: string): Failure =>
  new Failure("header-mismatch", `The header ${header} says "${show(received)}", but the body says "${show(body)}".`, {
    data: { header },
  });

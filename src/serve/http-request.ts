import type { Presented } from "../core/ports.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Sessions } from "../session/sessions.ts";
import type { Traffic } from "../session/traffic.ts";
import type { BodyReader } from "./body.ts";
import type { ConnectionSlots } from "./connection-slots.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import type { Running } from "./running.ts";

/** What of the process the endpoints over HTTP work with; each takes what it needs. */
export type HttpContext = {
  current: () => Gateway;
  sessions: Sessions;
  running: Running;
  traffic: Traffic;
  bodies: BodyReader;
  slots: ConnectionSlots;
  /** Most requests, streams and WebSockets at once. */
  maxConnections: number;
};

/** An HTTP request that is being answered; `raw` is Bun's part of it. */
export class HttpRequest {
  readonly raw: Request;
  readonly ip: string;
  /** The server or toolset that its path names; null for all servers. */
  scope: string | null = null;
  readonly since = performance.now();
  /** Whether its connection is no longer closed for silence. */
  kept = false;
  /** Whether its client, cut off, could come back for the answer, if it had been sent an event id. */
  resumable = false;
  /** Called once if the answer is long in coming. */
  onLong: (() => void) | null = null;
  /** The call that runs on after the response has begun. */
  call: Promise<unknown> | null = null;

  constructor(raw: Request, ip: string) {
    this.raw = raw;
    this.ip = ip;
  }
}

/** The parts of an HTTP request that identify its sender, in a form that a connection can keep. */
export function presentedBy({ raw: { headers }, ip }: HttpRequest): Presented {
  const { transport, loopback, forwarded } = sourceOf(headers, ip);
  return { source: { transport, ip, loopback, forwarded }, credentials: credentialsOf(headers), vouched: null };
}

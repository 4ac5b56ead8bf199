import type { Presented } from "../core/ports.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Sessions } from "../session/sessions.ts";
import type { Traffic } from "../session/traffic.ts";
import type { BodyReader } from "./body.ts";
import type { ConnectionSlots } from "./connection-slots.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import type { Running } from "./running.ts";

/** The parts of the process that the HTTP endpoints use. */
export type HttpContext = {
  current: () => Gateway;
  sessions: Sessions;
  running: Running;
  traffic: Traffic;
  bodies: BodyReader;
  slots: ConnectionSlots;
  /** Maximum number of concurrent requests, streams and WebSockets. */
  maxConnections: number;
};

/** An HTTP request in progress; `raw` is Bun's request. */
export class HttpRequest {
  readonly raw: Request;
  readonly ip: string;
  /** The server or toolset named in the path; null for all servers. */
  scope: string | null = null;
  readonly since = performance.now();
  /** Whether the idle timeout of its connection is turned off. */
  kept = false;
  /** Whether a disconnected client could resume and get the response, if it had received an event id. */
  resumable = false;
  /** Called once if the response takes long. */
  onLong: (() => void) | null = null;
  /** The call, if it continues after the response has begun. */
  call: Promise<unknown> | null = null;

  constructor(raw: Request, ip: string) {
    this.raw = raw;
    this.ip = ip;
  }
}

/** Returns the parts of an HTTP request that identify its sender, copied so that a connection can keep them. */
export function presentedBy({ raw: { headers }, ip }: HttpRequest): Presented {
  const { transport, loopback, forwarded } = sourceOf(headers, ip);
  return { source: { transport, ip, loopback, forwarded }, credentials: credentialsOf(headers), vouched: null };
}

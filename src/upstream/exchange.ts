import { idOf } from "../mcp/message.ts";
import { errorMessage, resultMessage } from "../mcp/reply.ts";
import { readUpstream, type UpstreamMessage } from "../mcp/upstream-message.ts";
import type { Answer, Ask, LinkHost } from "./link.ts";

/** Calls `end` once when the request's time is up or its caller gives up; returns the way to stop watching. */
export function watch(
  { timeout, controller: { signal } }: Ask,
  end: (why: "timeout" | "cancelled") => void,
): () => void {
  const timer = setTimeout(end, timeout, "timeout");
  const abort = (): void => end("cancelled");
  signal.addEventListener("abort", abort, { once: true });
  return () => {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  };
}

/** Where the messages of a server go. */
export type Inbox = {
  /** An answer, which may be to nothing that was asked. */
  answer(idText: string, answer: Answer): void;
  /** An error without an id. */
  anonymous(answer: Answer): void;
  progress(token: unknown, params: Record<string, unknown>): void;
  /** An answer that cannot be used; the id is a best effort. */
  broken(idText: string, reason: string): void;
  /** Sends our answer to a request of the server. */
  reply(text: string): void;
};

/** Takes one message of a server, whatever it is; never throws. */
export function receive(text: string, host: LinkHost, inbox: Inbox): void {
  deliver(readUpstream(text, host.limits), text, host, inbox);
}

/** Takes a message that was read already; `text` is what it was read from. */
export function deliver(message: UpstreamMessage, text: string, host: LinkHost, inbox: Inbox): void {
  if (message.kind === "result") return inbox.answer(message.idText, message);
  if (message.kind === "error") {
    if (message.idText !== null) return inbox.answer(message.idText, message);
    return inbox.anonymous(message);
  }
  if (message.kind === "notification") {
    if (message.method === "notifications/progress")
      return inbox.progress(message.params.progressToken, message.params);
    return host.notified(message.method);
  }
  if (message.kind === "request") {
    if (message.method === "ping") return inbox.reply(resultMessage(message.idText, "{}"));
    host.dropped("a request of the server");
    return inbox.reply(errorMessage(message.idText, -32601, "This client declared no capability for that method"));
  }
  host.dropped(message.reason);
  const idText = idOf(text);
  if (idText !== null) inbox.broken(idText, message.reason);
}

import { connect, type Socket } from "node:net";

// What clients send that write their requests themselves.

/** A connection of a client's own to a server on this machine. */
export const dial = ({ url }: { readonly url: string }): Socket =>
  connect(Number(new URL(url).port), "127.0.0.1").on("error", () => {});

/** A request of alice's with these further lines of its head; `end` stands at the end of each line. */
export const requestText = (line: string, lines: readonly string[], body = "", end = "\r\n"): string =>
  [`${line} HTTP/1.1`, "Host: 127.0.0.1", "Authorization: Bearer alice", ...lines, "", body].join(end);

/** A message of hers. */
export const postText = (lines: readonly string[], body = "", end = "\r\n"): string =>
  requestText("POST /mcp", ["Content-Type: application/json", ...lines], body, end);

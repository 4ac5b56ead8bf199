import type { Server, ServerWebSocket, WebSocketHandler } from "bun";
import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { Intake } from "../core/turns.ts";
import { headroom } from "../mcp/message.ts";
import { decodeUtf8 } from "../mcp/utf8.ts";
import { answerCaller } from "./admission.ts";
import { McpConnection } from "./connection.ts";
import { type HttpContext, type HttpRequest, presentedBy } from "./http-request.ts";
import { leftUnread, type Outlet, sendOrDrop } from "./queue-limits.ts";

/** What a socket carries; its client is known before the socket opens. */
export type SocketData = {
  readonly who: Principal;
  readonly presented: Presented;
  readonly scope: string | null;
  leave: () => void;
  connection: McpConnection | null;
  /** Takes the incoming messages; null before the socket opens. */
  intake: Intake<string> | null;
};

type Socket = ServerWebSocket<SocketData>;

const subprotocol = "mcp";
/** Seconds of silence after which a socket is closed; Bun sends a ping in between. */
const idle = 60;

/** Close codes (RFC 6455 §7.4.1). */
const code = { policy: 1008, goingAway: 1001, abnormal: 1006 } as const;

/** Bun's close reason for a frame longer than `maxPayloadLength`, and the prefix of all its reasons for bad frames. */
const tooBig = "Received too big message";
const badFrame = /^Received /;

const outletOf = (socket: Socket): Outlet => ({
  owner: socket.data.who.id,
  queued: () => socket.getBufferedAmount(),
  put: (message) => void socket.sendText(message),
  close: (why) => drop(socket, why),
});

/** Terminates a socket whose client does not read. If it were closed, Bun would keep its unread bytes uncounted. */
function drop(socket: Socket, why: string): void {
  socket.data.connection?.close(why);
  socket.terminate();
}

/** MCP over WebSocket, subprotocol `mcp`: each message is one frame; the gateway sends text frames. */
export class WebSockets {
  readonly #context: HttpContext;
  readonly #open = new Set<Socket>();

  constructor(context: HttpContext) {
    this.#context = context;
  }

  /** Resolves with undefined if the connection became a WebSocket. */
  upgrade(request: HttpRequest, server: Server<SocketData>): Promise<Response | undefined> {
    return answerCaller(this.#context.current(), request, (who) => this.#upgrade(request, who, server));
  }

  #upgrade(request: HttpRequest, who: Principal, server: Server<SocketData>): Response | undefined {
    const { raw, scope } = request;
    const offered = raw.headers.get("sec-websocket-protocol");
    const fits = offered === null || offered.split(",").some((one) => one.trim() === subprotocol);
    if (!fits) return new Response("The only subprotocol of this WebSocket is mcp.\n", { status: 400 });
    const leave = this.#context.slots.take(who.id);
    const data: SocketData = { who, presented: presentedBy(request), scope, leave, connection: null, intake: null };
    const headers = offered === null ? {} : { "sec-websocket-protocol": subprotocol };
    if (server.upgrade(raw, { data, headers })) return undefined;
    leave();
    return new Response("This path accepts only WebSocket upgrades.\n", {
      status: 426,
      headers: { upgrade: "websocket" },
    });
  }

  /** Returns the callbacks of Bun's server; `body` is the maximum length of a message, bytes. */
  handler(body: number): WebSocketHandler<SocketData> {
    return {
      maxPayloadLength: body + headroom,
      idleTimeout: idle,
      sendPings: true,
      perMessageDeflate: false,
      // So high that Bun drops no large result. `sendOrDrop` closes the socket of a client with too much unread.
      backpressureLimit: 2 ** 30,
      open: (socket) => this.#opened(socket),
      message: ({ data: { intake } }, message) =>
        intake?.push(typeof message === "string" ? message : decodeUtf8(message)),
      // The reason of a close frame is the client's text, but a close frame cannot carry this code.
      close: (socket, closed, reason) =>
        socket.data.intake?.end(() => this.#closed(socket, closed === code.abnormal ? reason : "")),
    };
  }

  closeAll(): void {
    for (const socket of this.#open) socket.close(code.goingAway, "the gateway is stopping");
  }

  #opened(socket: Socket): void {
    const { presented, scope, who, leave } = socket.data;
    this.#open.add(socket);
    const { traffic } = this.#context;
    const outlet = outletOf(socket);
    traffic.streams++;
    const connection = (socket.data.connection = new McpConnection({
      ...this.#context,
      ...presented,
      scope,
      send: (message, must) => sendOrDrop(outlet, message, must, this.#context),
    }));
    socket.data.intake = new Intake({
      take: (message) => void connection.receive(message),
      pause: () => socket.pause(),
      resume: () => socket.resume(),
    });
    // The key may have been revoked since the upgrade request.
    const unwatch = connection.closeOnRevocation(who.revoked, () => {
      // On a socket that is only closed, Bun would go on sending what its client has not read.
      if (socket.getBufferedAmount() > 0) socket.terminate();
      else socket.close(code.policy, "access was revoked");
    });
    const uncount = traffic.unread.add(who.id, { queued: outlet.queued, drop: () => drop(socket, leftUnread) });
    socket.data.leave = () => {
      leave();
      unwatch();
      uncount();
    };
  }

  /** `reason` is Bun's own; empty if the client closed the socket. */
  #closed(socket: Socket, reason: string): void {
    if (!this.#open.delete(socket)) return;
    const { data } = socket;
    const { connection } = data;
    this.#context.traffic.streams--;
    data.leave();
    if (reason === tooBig) connection?.closeOversized();
    else if (badFrame.test(reason))
      connection?.breach(`The connection was closed because of an invalid WebSocket frame: ${reason}.`);
    else connection?.close();
  }
}

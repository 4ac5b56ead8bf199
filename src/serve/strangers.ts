import { Failure } from "../core/failure.ts";
import type { HttpContext } from "./http-request.ts";

/** Most bytes read of a body whose sender is refused anyway. */
const mostRead = 64 * 1024;
/** The sender of all such bodies; no principal has this id. */
const nobody = "";

/** Senders who have no business here. Of their bodies only enough is read to find the request's id. */
export class Strangers {
  readonly #context: Pick<HttpContext, "bodies" | "maxConnections">;
  /** Those whose bodies are being read. */
  #reading = 0;

  constructor(context: Pick<HttpContext, "bodies" | "maxConnections">) {
    this.#context = context;
  }

  /** Answers one; `respond` is given the body. */
  async turnAway(raw: Request, respond: (text: string) => Promise<Response>): Promise<Response> {
    const text = await this.#textOf(raw);
    if (!(text instanceof Failure)) return respond(text);
    const response = await respond("");
    // What is late by now is waited for no longer.
    if (text.code === "body-timeout") response.headers.set("connection", "close");
    return response;
  }

  /** Nothing is read once such bodies hold a quarter of all places. */
  async #textOf(raw: Request): Promise<string | Failure> {
    const { bodies, maxConnections } = this.#context;
    if (this.#reading >= maxConnections / 4) return "";
    this.#reading++;
    try {
      return await bodies.read(raw, nobody, mostRead);
    } finally {
      this.#reading--;
    }
  }
}

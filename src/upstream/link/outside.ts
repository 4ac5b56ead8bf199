import type { InputMethod } from "../../core/inbound.ts";
import { createWindow } from "../window.ts";
import { Asking } from "./asking.ts";
import type { AskClient } from "./link.ts";

/** How often a server may ask outside of calls, per minute. The number of the client's calls does not bound that. */
const most = 16;
const minuteMs = 60_000;

/**
 * The questions of an instance that is one session's own, outside of any call. Only the client's roots may be asked
 * for, as a server does once it was told that they changed. Questions that keep a person busy or cost money may only be
 * asked during a call.
 */
export class Outside extends Asking {
  readonly #ask: AskClient;
  readonly #inMinute = createWindow(minuteMs, () => performance.now());

  constructor(ask: AskClient) {
    super();
    this.#ask = ask;
  }

  /** Infinite, so that a question goes through a running call if there is one. */
  get asked(): number {
    return Infinity;
  }

  protected take(method: InputMethod): AskClient | null {
    return method === "roots/list" && this.#inMinute() <= most ? this.#ask : null;
  }

  protected hold(): void {}

  protected release(): void {}
}

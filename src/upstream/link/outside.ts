import type { InputMethod } from "../../core/inbound.ts";
import { createWindow } from "../window.ts";
import { Asking } from "./asking.ts";
import type { AskClient } from "./link.ts";

/** How often a server may ask outside of calls, per minute. The number of the client's calls does not bound that. */
const most = 16;
const minuteMs = 60_000;

/**
 * The questions of an instance outside of any call, while it is opened for a call or if it is one session's own. Only the
 * client's roots may be asked for, as a server does at its start and once it was told that they changed. Questions that
 * keep a person busy or cost money may only be asked during a call.
 */
export class Outside extends Asking {
  readonly #asked: () => AskClient | null;
  readonly #inMinute = createWindow(minuteMs, () => performance.now());

  constructor(asked: () => AskClient | null) {
    super();
    this.#asked = asked;
  }

  /** Whether the client can be asked now. */
  get able(): boolean {
    return this.#asked() !== null;
  }

  /** Infinite, so that a question goes through a running call if there is one. */
  get asked(): number {
    return Infinity;
  }

  protected take(method: InputMethod): AskClient | null {
    return method === "roots/list" && this.#inMinute() <= most ? this.#asked() : null;
  }

  protected hold(): void {}

  protected release(): void {}
}

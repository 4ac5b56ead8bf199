import type { InputMethod } from "../../core/inbound.ts";
import { createWindow } from "../window.ts";
import { Asking } from "./asking.ts";
import type { AskClient } from "./link.ts";

/** How often a server may ask outside of calls, per minute: nothing that its caller does bounds it. */
const most = 16;
const minuteMs = 60_000;

/**
 * The client of an instance that is one session's own, outside of any call. It is asked for its roots alone, as a server
 * does that was told of a change of them: what keeps a person busy or costs money is asked while a call runs.
 */
export class Outside extends Asking {
  readonly #ask: AskClient;
  readonly #inMinute = createWindow(minuteMs, () => performance.now());

  constructor(ask: AskClient) {
    super();
    this.#ask = ask;
  }

  /** Where a call runs, that comes first. */
  get asked(): number {
    return Infinity;
  }

  protected take(method: InputMethod): AskClient | null {
    return method === "roots/list" && this.#inMinute() <= most ? this.#ask : null;
  }

  protected hold(): void {}

  protected release(): void {}
}

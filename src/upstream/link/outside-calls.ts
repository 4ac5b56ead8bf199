import type { InputMethod } from "../../core/inbound.ts";
import { createWindow } from "../window.ts";
import type { AskClient, LinkHost } from "./link.ts";
import { QuestionContext } from "./question-context.ts";

/** How often a server may ask outside of calls, per minute. The number of the client's calls does not bound that. */
const most = 16;
const minuteMs = 60_000;

/**
 * The questions of an instance outside of any call, while it is opened for a call or if it is one session's own. Only
 * the client's roots may be asked for, as a server does at its start and once it was told that they changed. Questions
 * that keep a person busy or cost money may only be asked during a call.
 */
export class OutsideCalls extends QuestionContext {
  /** So that a question goes by way of a running call if there is one. */
  readonly timesAsked = Infinity;
  readonly #asker: LinkHost["asker"];
  readonly #inMinute = createWindow(minuteMs, () => performance.now());

  constructor(asker: LinkHost["asker"]) {
    super();
    this.#asker = asker;
  }

  /** Whether the client can be asked now, by a question of this method that has come. */
  isAskable(method: string): boolean {
    return this.#asker(method) !== null;
  }

  protected take(method: InputMethod): AskClient | null {
    return method === "roots/list" && this.#inMinute() <= most ? this.#asker(method) : null;
  }
}

import type { InputMethod } from "../../core/inbound.ts";
import { createWindow } from "../window.ts";
import type { AskClient, LinkHost } from "./link.ts";
import { QuestionContext } from "./question-context.ts";

/** How often a server may ask outside of calls, per minute. The number of the client's calls does not limit this. */
const most = 16;
const minuteMs = 60_000;

/**
 * The questions of an instance outside of calls, while it is opened for a call or belongs to one session. A server may
 * only ask for the client's roots, as servers do at their start and when notified that the roots changed. Questions
 * that keep a person busy or cost money may only be asked during a call.
 */
export class OutsideCalls extends QuestionContext {
  /** Infinite, so that a question goes through a running call if there is one. */
  readonly timesAsked = Infinity;
  readonly #asker: LinkHost["asker"];
  readonly #inMinute = createWindow(minuteMs, () => performance.now());

  constructor(asker: LinkHost["asker"]) {
    super();
    this.#asker = asker;
  }

  /** Whether the client can be asked now, for a question of this method that has arrived. */
  isAskable(method: string): boolean {
    return this.#asker(method) !== null;
  }

  protected take(method: InputMethod): AskClient | null {
    return method === "roots/list" && this.#inMinute() <= most ? this.#asker(method) : null;
  }
}

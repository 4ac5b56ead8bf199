import type { Call } from "../../src/core/call.ts";
import { handle } from "../../src/gateway/handle.ts";
import { answerMessage } from "../../src/mcp/reply.ts";
import { makeTool } from "../support/call.ts";
import { until } from "../support/until.ts";
import { type Asking, type Harness, item, type Options, request } from "./support.ts";

export const servers: NonNullable<Options["servers"]> = {
  crm: { tools: [makeTool("get")], resources: [item("file:///a"), item("twin:b"), item("file:///unavailable")] },
  erp: { resources: [item("erp:c"), item("twin:b")] },
};

type Message = { method: string; params: Record<string, unknown> & { _meta: Record<string, unknown> } };

/** A listening client; disposing it makes it leave. */
export class Client implements AsyncDisposable {
  readonly said: string[] = [];
  readonly controller = new AbortController();
  readonly call: Call;
  readonly ended: Promise<void>;
  readonly #gw: Harness["gw"];

  constructor({ gw }: Harness, notifications: unknown, asking: Asking = {}) {
    this.#gw = gw;
    this.call = request(
      gw,
      "subscriptions/listen",
      { notifications },
      {
        controller: this.controller,
        emit: (text) => void this.said.push(text),
        ...asking,
      },
    );
    this.ended = handle(gw, this.call);
  }

  get messages(): Message[] {
    return this.said.map((text) => JSON.parse(text) as Message);
  }

  get methods(): string[] {
    return this.messages.map(({ method }) => method);
  }

  get granted(): unknown {
    return this.messages[0]?.params.notifications;
  }

  async acknowledged(): Promise<this> {
    await until(() => this.said.length > 0 || this.call.failure, "an acknowledgement");
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.controller.abort();
    await this.ended;
  }

  answer(): unknown {
    const { reply, inbound } = this.call;
    return reply && JSON.parse(answerMessage(inbound, reply, this.#gw.identity, null));
  }
}

/** A filter with everything to which a client can listen. */
export const everything = {
  toolsListChanged: true,
  promptsListChanged: true,
  resourcesListChanged: true,
  resourceSubscriptions: ["file:///a", "mcpgw+crm:twin:b", "erp:c"],
};

import type { Answer, CallName, Input, StreamName } from "./api.ts";
import type { Client, Context, Gap, Handlers } from "./contract.ts";
import { dispatch } from "./dispatch.ts";

/** A client that runs the handlers in this process, under the same rules as over the socket. */
export function localClient(handlers: Handlers, ctx: Context, close: () => void): Client {
  return {
    online: false,
    async call<N extends CallName>(name: N, input: Input<N>) {
      const outcome = dispatch(handlers, name, input, ctx);
      if (outcome.kind !== "call") throw new Error(`${name} is a stream`);
      return (await outcome.answer) as Answer<N>; // the table pairs name and answer
    },
    stream<N extends StreamName>(name: N, input: Input<N>, signal = ctx.signal) {
      const outcome = dispatch(handlers, name, input, { ...ctx, signal });
      if (outcome.kind !== "stream") throw new Error(`${name} is no stream`);
      return outcome.events as AsyncIterable<Answer<N> | Gap>; // the table pairs name and events
    },
    close,
  };
}

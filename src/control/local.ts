import type { Answer, CallName, Input, StreamName } from "./api.ts";
import type { Client, Context, Gap, Handlers } from "./contract.ts";
import { dispatch } from "./dispatch.ts";

/** Returns a client that runs the handlers in this process, under the same rules as over the socket. */
export function localClient(handlers: Handlers, ctx: Context, close: () => void): Client {
  return {
    online: false,
    // The table pairs each name with its answer or events.
    call: <N extends CallName>(name: N, input: Input<N>) => dispatch(handlers, name, input, ctx) as Promise<Answer<N>>,
    async *stream<N extends StreamName>(name: N, input: Input<N>, signal = ctx.signal) {
      yield* (await dispatch(handlers, name, input, { ...ctx, signal })) as AsyncIterable<Answer<N> | Gap>;
    },
    close,
  };
}

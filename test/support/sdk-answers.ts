import { connect, type Line, type Peer } from "./sdk.ts";

// Official clients that answer what servers ask: the user's, the model's and the file system's part.

/** A client with what it was asked and told, in order. */
export type Answering = Peer & {
  readonly asked: { readonly method: string; readonly params: unknown }[];
  /** Log messages that arrived. */
  readonly logged: unknown[];
  /** Has one other root from here on, and says so. */
  moveTo(uri: string): Promise<void>;
};

const capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } };

const filled: Readonly<Record<string, string | boolean>> = {
  username: "ada",
  email: "ada@example.org",
  name: "Ada",
  color: "green",
  context: "the context",
  ok: true,
};

/** Fills a form in: each property with what stands for it here. */
function fill({ requestedSchema }: { readonly requestedSchema?: { properties?: Record<string, unknown> } }) {
  const names = Object.keys(requestedSchema?.properties ?? {});
  return {
    action: "accept",
    content: Object.fromEntries(names.flatMap((name) => (name in filled ? [[name, filled[name]]] : []))),
  };
}

const sampled = { model: "none", role: "assistant", content: { type: "text", text: "Paris" } };

/** Connects an official client that answers every question, over HTTP. */
export async function connectAnswering(
  line: Line,
  url: string,
  key = "",
  root = "file:///srv/root",
): Promise<Answering> {
  const asked: Answering["asked"] = [];
  const logged: unknown[] = [];
  const answers = {
    "elicitation/create": fill,
    "sampling/createMessage": () => sampled,
    "roots/list": () => ({ roots: [{ uri: root, name: "root" }] }),
  };
  const peer = await connect(
    line,
    { url, key },
    {
      capabilities,
      answer(method, params) {
        asked.push({ method, params });
        return answers[method](params);
      },
    },
  );
  peer.on("notifications/message", ({ data }) => void logged.push(data));
  return Object.assign(peer, {
    asked,
    logged,
    moveTo(uri: string) {
      root = uri;
      return peer.rootsChanged();
    },
  });
}

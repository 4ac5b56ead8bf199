import { connect, type Line, type Peer } from "./sdk.ts";

// Official clients that answer servers' questions for the user, the model and the file system.

/** A client with the questions and log messages it has received, in order. */
export type Answering = Peer & {
  readonly asked: { readonly method: string; readonly params: unknown }[];
  /** Log messages received. */
  readonly logged: unknown[];
  /** Replaces its root with another and notifies the server. */
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

/** Fills in a form with the values of `filled`. */
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

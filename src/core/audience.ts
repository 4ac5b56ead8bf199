/** To whom a server shows a tool that it does not show to everybody. */
export type Audience = {
  /** Clients that can answer questions: those with one of these `inputKey`s. */
  readonly kinds: ReadonlySet<string>;
  /** Principal ids: an instance that is one principal's own offers the tool. */
  readonly principals: ReadonlySet<string>;
  /** Ids of legacy sessions: an instance that is one session's own offers it. */
  readonly sessions: ReadonlySet<string>;
};

/** An audience without members. */
export const nobody: Audience = { kinds: new Set(), principals: new Set(), sessions: new Set() };

/** All who are of one of two audiences. */
export const both = (a: Audience, b: Audience): Audience => ({
  kinds: a.kinds.union(b.kinds),
  principals: a.principals.union(b.principals),
  sessions: a.sessions.union(b.sessions),
});

/** Whose list it is. */
export type Viewer = {
  /** Principal id. */
  readonly principal: string;
  /** Id of the legacy session; null without one. */
  readonly session: string | null;
  /** The `inputKey` of its client; null if the tools for any kind of client are meant. */
  readonly input: string | null;
};

/** Whether the viewer is one of the audience; undefined stands for everybody. */
export function isFor(to: Audience | undefined, { principal, session, input }: Viewer): boolean {
  if (!to) return true;
  const byKind = input === null ? to.kinds.size > 0 : to.kinds.has(input);
  return byKind || to.principals.has(principal) || (session !== null && to.sessions.has(session));
}

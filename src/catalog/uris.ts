import { canonicalName, explicitScheme as scheme, longestName } from "../core/name.ts";
import { type Candidate, clashes, type Named } from "./names.ts";

const apps = "ui://";

/** Whether a URI is that of an app. */
export const isApp = (uri: string): boolean => uri.startsWith(apps);

/** Leaves room for the server that a URI may have to name. */
const longestUri = longestName - 200;

/** The beginnings of a server's rewritten URIs. */
const wrappers = (server: string): { readonly plain: string; readonly app: string } => ({
  plain: `${scheme}${server}:`,
  app: `${apps}${server}/`,
});

/**
 * A URI that names its server, offered if two servers have the same URI, or if theirs is none. An app keeps `ui://`, by
 * which hosts recognise apps.
 */
export const wrapUri = (server: string, uri: string): string =>
  isApp(uri) ? wrappers(server).app + uri.slice(apps.length) : wrappers(server).plain + uri;

/** The server's own URI in that of an app which names its server; null for any other, explicit ones too. */
export function unwrapApp(server: string, uri: string): string | null {
  const { app } = wrappers(server);
  return uri.startsWith(app) ? apps + uri.slice(app.length) : null;
}

/** Whether it would pass for an app of another of the servers which has to name that one. */
function namesOther(server: string, uri: string, servers: ReadonlySet<string>): boolean {
  const end = isApp(uri) ? uri.indexOf("/", apps.length) : -1;
  const named = uri.slice(apps.length, Math.max(end, apps.length));
  return named !== server && servers.has(named);
}

/** A URI that always names its server, whether or not it had to be rewritten. */
export const explicitUri = (server: string, uri: string): string => wrappers(server).plain + uri;

/** Splits an explicit URI; null for any other. */
export function splitExplicit(uri: string): { readonly server: string; readonly uri: string } | null {
  if (!uri.startsWith(scheme)) return null;
  const at = uri.indexOf(":");
  return at < 0 ? null : { server: uri.slice(scheme.length, at), uri: uri.slice(at + 1) };
}

/**
 * What assigning depends on besides the candidates: which servers have a template for a URI, and which texts are URIs.
 */
type UriRules = { readonly claims: (uri: string) => Iterable<string>; readonly isUri: (text: string) => boolean };

const anyText: UriRules = { claims: () => [], isUri: () => true };

/**
 * Gives each candidate its URI on the wire: its own URI if it is one that names none of the other `servers`, and no
 * other has it or (`claims`) a template for it; else one that names its server.
 */
export function assignUris(
  candidates: readonly Candidate[],
  servers: ReadonlySet<string>,
  { claims, isUri }: UriRules = anyText,
): Map<Candidate, Named> {
  const named = new Map<Candidate, Named>();
  const refuse = (each: Candidate, reason: string, told = reason): void => void named.set(each, { reason, told });
  const open: { candidate: Candidate; canonical: string; wire: string }[] = [];
  for (const [uri, group] of Map.groupBy(candidates, ({ name }) => name)) {
    const havers = new Set([...group.map(({ server }) => server), ...claims(uri)]);
    for (const candidate of group) {
      const { server, name } = candidate;
      if (name === "") refuse(candidate, "it has no URI");
      else if (group.some((each) => each !== candidate && each.server === server))
        refuse(candidate, "its server lists this URI twice");
      else if (name.length > longestUri) refuse(candidate, `its URI is longer than ${longestUri} characters`);
      else if (name.startsWith(scheme)) refuse(candidate, `${scheme}… URIs are the gateway's`);
      else {
        const stays = havers.size === 1 && isUri(name) && !namesOther(server, name, servers);
        const wire = stays ? name : wrapUri(server, name);
        if (isUri(wire)) open.push({ candidate, canonical: canonicalName(server, name), wire });
        else refuse(candidate, "its URI cannot be parsed");
      }
    }
  }
  for (const { candidate, wire } of open) named.set(candidate, wire);
  for (const { one, others } of clashes(open, ({ wire }) => wire))
    refuse(one.candidate, `its URI would be that of ${others}; change one`, "its URI is another's too");
  return named;
}

import { canonicalName, explicitScheme as scheme, maxNameLength } from "../core/name.ts";
import { type Candidate, clashes, type Named } from "./names.ts";

const apps = "ui://";

/** Reports whether a URI is the URI of an app. */
export const isApp = (uri: string): boolean => uri.startsWith(apps);

/** Maximum length of a server's URI: leaves room for the server that it may have to name. */
const maxUriLength = maxNameLength - 200;

/** Returns the prefixes of a server's rewritten URIs. */
const wrappers = (server: string): { readonly plain: string; readonly app: string } => ({
  plain: `${scheme}${server}:`,
  app: `${apps}${server}/`,
});

/** Returns a URI that names its server. An app's URI keeps `ui://`, by which hosts recognize apps. */
export const wrapUri = (server: string, uri: string): string =>
  isApp(uri) ? wrappers(server).app + uri.slice(apps.length) : wrappers(server).plain + uri;

/** Returns the server's own URI for an app's URI that names it; null for any other URI, including explicit ones. */
export function unwrapApp(server: string, uri: string): string | null {
  const { app } = wrappers(server);
  return uri.startsWith(app) ? apps + uri.slice(app.length) : null;
}

/** Reports whether the URI looks like that of an app of another server, rewritten to name that server. */
function namesOther(server: string, uri: string, servers: ReadonlySet<string>): boolean {
  const end = isApp(uri) ? uri.indexOf("/", apps.length) : -1;
  const named = uri.slice(apps.length, Math.max(end, apps.length));
  return named !== server && servers.has(named);
}

/** Returns a URI that always names its server, whether or not the URI had to be rewritten. */
export const explicitUri = (server: string, uri: string): string => wrappers(server).plain + uri;

/** Splits an explicit URI; returns null for any other URI. */
export function splitExplicit(uri: string): { readonly server: string; readonly uri: string } | null {
  if (!uri.startsWith(scheme)) return null;
  const at = uri.indexOf(":");
  return at < 0 ? null : { server: uri.slice(scheme.length, at), uri: uri.slice(at + 1) };
}

/** Rules of the assignment: which servers have a template for a URI, and which texts are valid URIs. */
type UriRules = { readonly claims: (uri: string) => Iterable<string>; readonly isUri: (text: string) => boolean };

const anyText: UriRules = { claims: () => [], isUri: () => true };

/**
 * Gives each candidate its URI on the wire: its own if it is valid, names none of the other `servers`, and no other
 * server has it or (`claims`) a template for it; otherwise one that names its server.
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
      else if (name.length > maxUriLength) refuse(candidate, `its URI is longer than ${maxUriLength} characters`);
      else if (name.startsWith(scheme)) refuse(candidate, `${scheme}… URIs are reserved for the gateway`);
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
    refuse(
      one.candidate,
      `its URI would be the same as that of ${others}; change one of them`,
      "another item has the same URI",
    );
  return named;
}

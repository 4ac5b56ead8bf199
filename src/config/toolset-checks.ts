import type { Path } from "../core/finding.ts";
import { compileGlob } from "../core/glob.ts";
import { canonicalName, nameFault, ownServer, reservedServers, separator, splitCanonical } from "../core/name.ts";
import type { Report } from "./problem.ts";
import type { Config } from "./schema.ts";

type Toolset = Config["toolsets"][number];

/** Finds conflicts of toolsets with other parts of the file, such as ids that are taken or impossible names. */
export function toolsets({ toolsets: all, servers, names }: Config, report: Report): void {
  const taken = new Map<string, string>(servers.map(({ id }, index) => [id, `servers[${index}]`]));
  const ids = servers.map(({ id }) => id);
  for (const [index, toolset] of all.entries()) {
    const path: Path = ["toolsets", index];
    const { id } = toolset;
    const other = taken.get(id);
    if (reservedServers.has(id)) report.problem([...path, "id"], `"${id}" is reserved; choose another id`);
    else if (other) report.problem([...path, "id"], `${other} already has this id; both would be at /mcp/${id}`);
    taken.set(id, `toolsets[${index}]`);
    selections(toolset, path, ids, report);
    renames(toolset, path, { ids, max: names.max }, report);
  }
}

function selections({ include, exclude }: Toolset, path: Path, ids: readonly string[], report: Report): void {
  for (const [key, texts] of Object.entries({ include, exclude })) {
    for (const [index, text] of texts.entries()) {
      const { server, tool: name } = splitCanonical(text) ?? { server: "", tool: "" };
      const meant = [ownServer, ...ids].filter(compileGlob(server));
      const missing = meant.length > 0 ? null : `there is no server ${JSON.stringify(server)}, so this selects nothing`;
      const fault = missing ?? (uri.test(name) ? null : nameFault(name, meant, false, canonicalName));
      if (fault !== null) report.warn([...path, key, index], fault);
    }
  }
}

/** Matches the URI of a resource, which has a scheme; name checks do not apply to it. */
const uri = /^[\w+.*?-]+:/;

type Names = { readonly ids: readonly string[]; readonly max: number };

function renames({ rename, include }: Toolset, path: Path, { ids, max }: Names, report: Report): void {
  const seen = new Map<string, string>();
  for (const [canonical, name] of Object.entries(rename)) {
    const at = [...path, "rename", canonical];
    const server = splitCanonical(canonical)?.server ?? "";
    const twin = seen.get(name.toLowerCase());
    const posing = [ownServer, ...ids].find((id) => id !== server && name.toLowerCase().startsWith(id + separator));
    if (name.length > max) report.problem(at, `is longer than names.max allows (${max} characters)`);
    else if (twin) report.problem(at, `differs from the name of ${twin} at most in case; choose distinct names`);
    else if (posing) report.problem(at, `looks like a name of server ${posing}; choose another`);
    else if (server !== ownServer && !ids.includes(server))
      report.warn(at, `there is no server ${JSON.stringify(server)}, so this has no effect`);
    else if (!include.some((text) => selects(text, canonical)))
      report.warn(at, "is not selected by include, so this has no effect");
    else if (/[*?]/.test(canonical))
      report.warn(at, "is read as a single name, not as a glob; list each name on its own line");
    seen.set(name.toLowerCase(), canonical);
  }
}

function selects(selection: string, canonical: string): boolean {
  const [globs, parts] = [splitCanonical(selection), splitCanonical(canonical)];
  return (
    globs !== null && parts !== null && compileGlob(globs.server)(parts.server) && compileGlob(globs.tool)(parts.tool)
  );
}

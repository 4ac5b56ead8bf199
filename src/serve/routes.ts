import { restWords } from "../core/name.ts";
import type { HttpRequest } from "./http-request.ts";

/** Answers a request to one path. */
export type Handler = (request: HttpRequest) => Response | undefined | Promise<Response | undefined>;
export type Methods = Readonly<Record<string, Handler>>;

export type Routes = {
  readonly exact: Readonly<Record<string, Methods>>;
  /** By path, with `*` in place of the first or last segment, which is the scope. */
  readonly scoped: Readonly<Record<string, Methods>>;
};

export type Found = { readonly methods: Methods; readonly scope: string | null };

/** Returns the route of a path, which is compared undecoded and without one trailing slash; null if there is none. */
export function find({ exact, scoped }: Routes, path: string): Found | null {
  const bare = path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
  const plain = own(exact, bare);
  if (plain) return { methods: plain, scope: null };
  const parts = bare.split("/");
  const [, first = "", last = ""] = parts;
  if (parts.length !== 3 || first === "" || last === "") return null;
  const after = own(scoped, `/${first}/*`);
  if (after) return restWords.has(last) ? null : { methods: after, scope: last };
  const before = own(scoped, `/*/${last}`);
  return before && !restWords.has(first) ? { methods: before, scope: first } : null;
}

function own(table: Readonly<Record<string, Methods>>, path: string): Methods | undefined {
  return Object.hasOwn(table, path) ? table[path] : undefined;
}

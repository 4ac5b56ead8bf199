import { type Finding, type Path, valueAt } from "../core/finding.ts";

type Older = { readonly path: Path; readonly instead: string; readonly excludes?: readonly Path[] };

const spellings: readonly Older[] = [
  {
    path: ["rateLimit"],
    instead: "write limits: {perMinute, burst}",
    excludes: [
      ["limits", "perMinute"],
      ["limits", "burst"],
    ],
  },
  { path: ["metering"], instead: "write usage: {enabled}; all dimensions are always counted", excludes: [["usage"]] },
  { path: ["audit", "enabled"], instead: "the audit log is always on; remove the line" },
  { path: ["audit", "hashChain"], instead: "the hash chain is always on; remove the line" },
];

/** Reports whether the file sets the value at `path` by an older or longer spelling. */
export function isSetByOtherSpelling(value: unknown, path: Path): boolean {
  if (path.join(".") === "auth.type") return valueAt(value, ["auth", "methods"]) !== undefined;
  const found = spellings.find(({ excludes = [] }) =>
    excludes.some((newer) => newer.every((key, i) => path[i] === key)),
  );
  return found !== undefined && valueAt(value, found.path) !== undefined;
}

/** Finds older spellings: a warning for each, or a problem if the current spelling is also present. */
export function findOlder(value: unknown): { problems: Finding[]; warnings: Finding[] } {
  // `audit.enabled: false` is not an older spelling but an error, which the schema reports.
  const used = spellings.filter(({ path }) => {
    const given = valueAt(value, path);
    return given !== undefined && given !== false;
  });
  const problems = used.flatMap(({ path, excludes = [] }): Finding[] => {
    const newer = excludes.find((other) => valueAt(value, other) !== undefined);
    return newer ? [{ path, key: true, message: `${newer.join(".")} sets the same; keep only that one` }] : [];
  });
  const old = valueAt(value, ["rateLimit"]);
  if (old !== undefined && valueAt(old, ["enabled"]) !== false && valueAt(old, ["defaultPerMinute"]) === undefined) {
    problems.push({ path: ["rateLimit"], key: true, message: "has no effect without defaultPerMinute" });
  }
  if (valueAt(value, ["auth", "type"]) !== undefined && valueAt(value, ["auth", "methods"]) !== undefined) {
    problems.push({ path: ["auth", "methods"], key: true, message: "auth.type sets the same; keep one of them" });
  }
  const warnings = used.map(({ path, instead }): Finding => ({
    path,
    key: true,
    message: `older spelling: ${instead}`,
  }));
  return { problems, warnings };
}

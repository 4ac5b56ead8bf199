import type { Call, Route } from "../core/call.ts";
import type { Status } from "../core/failure.ts";
import { memoize } from "../core/memoize.ts";
import { plain } from "../core/text.ts";

/** Upper bounds of the duration histogram, ms. */
const buckets = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000] as const;
/** Maximum number of tools counted separately; more are counted as `other`, so that names cannot exhaust memory. */
const maxTools = 5_000;

/** A metric, and how it is read at each scrape: one value without labels, or one value for each label set. */
export type Family = {
  readonly name: string;
  readonly help: string;
  readonly type: "gauge" | "counter";
  read(): number | readonly Readonly<Counted>[];
};
type Labels = Readonly<Record<string, string>>;
type Counted = { readonly labels: Labels; value: number };
/** The durations of calls to a server: counts by bucket, and the sum. */
type Durations = { readonly buckets: Float64Array; sum: number };
const noDurations = (): Durations => ({ buckets: new Float64Array(buckets.length + 1), sum: 0 });
type ToolCounts = {
  readonly labels: Labels;
  readonly durations: Durations;
  called: number;
  success: number;
  errors: number;
};

/** Creates a gauge, a value that may also fall. */
export function gauge(name: string, help: string, read: Family["read"]): Family {
  return { name, help, type: "gauge", read };
}

/** Creates a counter, a value that only grows. */
export function counter(name: string, help: string, read: Family["read"]): Family {
  return { name, help, type: "counter", read };
}

/** Counters of all calls, and metrics from the rest of the process, in the Prometheus text format 0.0.4. */
export class CallMetrics {
  readonly #requests = new Map<string, Map<Status, Counted>>();
  /** The entries of `#byName` by route, so that counting a call does not build a string. */
  readonly #countsOf = memoize(({ server, name }: Route) => this.#toolCounts(server, name));
  readonly #byName = new Map<string, ToolCounts>();
  readonly #durations = new Map<string, Durations>();
  /** The metrics of the rest of the process. */
  readonly #others: Family[] = [];

  add(...families: Family[]): void {
    this.#others.push(...families);
  }

  /** Counts an ended call for metrics only, never for usage. */
  count(call: Call): void {
    const status = call.status;
    const method = call.knownMethod;
    let ofMethod = this.#requests.get(method);
    if (!ofMethod) this.#requests.set(method, (ofMethod = new Map<Status, Counted>()));
    const seen = ofMethod.get(status);
    if (seen) seen.value++;
    else ofMethod.set(status, { labels: { method, status }, value: 1 });
    if (method === "tools/call" && call.route) this.#countTool(call, call.route, status);
  }

  #countTool(call: Call, route: Route, status: Status): void {
    const tool = this.#countsOf(route);
    tool.called++;
    if (status === "ok") tool.success++;
    else tool.errors++;
    const ms = call.took / 1000;
    let bucket = 0;
    while (bucket < buckets.length && ms > (buckets[bucket] ?? 0)) bucket++;
    const { durations } = tool;
    durations.buckets[bucket] = (durations.buckets[bucket] ?? 0) + 1;
    durations.sum += ms;
  }

  #toolCounts(proxy: string, name: string): ToolCounts {
    const tool = plain(name);
    const key = `${proxy}:${tool}`;
    const full = this.#byName.size >= maxTools;
    const known = this.#byName.get(key) ?? (full ? this.#byName.get("other") : undefined);
    if (known) return known;
    const labels = full ? { tool: "other", proxy: "other" } : { tool, proxy };
    const durations = this.#durations.getOrInsertComputed(labels.proxy, noDurations);
    const counts = { labels, durations, called: 0, success: 0, errors: 0 };
    this.#byName.set(full ? "other" : key, counts);
    return counts;
  }

  render(): string {
    const requests = [...this.#requests.values()].flatMap((one) => [...one.values()]);
    const sum = (label: "method" | "status", is: string) => () =>
      requests.reduce((total, { labels, value }) => (labels[label] === is ? total + value : total), 0);
    const tools = [...this.#byName.values()];
    const of = (field: "called" | "success" | "errors") => () =>
      tools.map((tool) => ({ labels: tool.labels, value: tool[field] }));
    const families: Family[] = [
      counter("mcp_gateway_requests_total", "Requests by method and status.", () => requests),
      counter("mcp_gateway_tools_called", "Tool calls.", of("called")),
      counter("mcp_gateway_tools_call_success", "Tool calls that succeeded.", of("success")),
      counter("mcp_gateway_tools_call_errors", "Tool calls that did not succeed.", of("errors")),
      counter("mcp_gateway_list_tools", "tools/list requests.", sum("method", "tools/list")),
      counter("mcp_gateway_rate_limited_total", "Calls refused by a rate limit.", sum("status", "rate_limited")),
      counter(
        "mcp_gateway_auth_failures_total",
        "Requests refused for their credential, or while all callers were frozen.",
        sum("status", "auth-failed"),
      ),
      ...this.#others,
    ];
    return families.map(familyText).join("") + this.#histogram();
  }

  #histogram(): string {
    const name = "mcp_gateway_request_duration_ms";
    let text = `# HELP ${name} Duration of tool calls, refused ones included.\n# TYPE ${name} histogram\n`;
    for (const [proxy, { buckets: counted, sum }] of this.#durations) {
      let below = 0;
      for (const [index, bound] of [...buckets, "+Inf"].entries()) {
        below += counted[index] ?? 0;
        text += `${name}_bucket${labels({ proxy, le: `${bound}` })} ${below}\n`;
      }
      text += `${name}_sum${labels({ proxy })} ${sum}\n${name}_count${labels({ proxy })} ${below}\n`;
    }
    return text;
  }
}

function familyText({ name, help, type, read }: Family): string {
  const value = read();
  const lines =
    typeof value === "number" ? [`${name} ${value}`] : value.map((v) => `${name}${labels(v.labels)} ${v.value}`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.map((line) => `${line}\n`).join("")}`;
}

function labels(all: Labels): string {
  const escape = (value: string) => value.replace(/[\\"\n]/g, (char) => (char === "\n" ? "\\n" : `\\${char}`));
  return `{${Object.entries(all)
    .map(([key, value]) => `${key}="${escape(value)}"`)
    .join(",")}}`;
}

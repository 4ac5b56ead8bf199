import { lstatSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { whyUnwritable } from "../core/access.ts";
import { orNull } from "../core/attempt.ts";
import { codeOf } from "../core/error-text.ts";
import { jsonSchema } from "./json-schema.ts";

const schemaFile = "gateway.schema.json";
const schemaLine = `# yaml-language-server: $schema=./${schemaFile}`;

const starter = `${schemaLine}
# Configuration of mcpgw. Check it with \`mcpgw config check\`; every option is in ${schemaFile}.
# A reference \${VAR}, \${VAR:-default}, \${file:PATH} or \${credential:NAME} is replaced when the file is read.

# Where agents connect. Off loopback this needs TLS: listen.tls, or behindTlsProxy: true.
listen:
  http: 127.0.0.1:7332

# Keys live in the state directory: mcpgw keys create "My agent" my-agent reader
auth:
  type: api-key

# The MCP servers behind the gateway: a program (command), a URL (url) or a built-in server (builtin).
servers:
  - id: calculator
    builtin: calculator
  # - id: files
  #   command: npx
  #   args: [-y, "@modelcontextprotocol/server-filesystem", /srv/files]
  # - id: crm
  #   url: https://crm.example/mcp
  #   headers: { Authorization: "Bearer \${CRM_TOKEN}" }

# What each role may do. The first matching rule decides; anything that no policy allows is denied.
policies:
  - id: reader-policy
    roles: [reader]
    rules:
      - { server: calculator, action: allow }
      - { tool: "get_*", action: allow }
  - id: admin-policy
    roles: [admin]
    rules:
      - { action: allow }
      - { server: mcpgw, action: allow }

# Guardrails apply to all roles and take precedence over their policies.
rules:
  - { id: no-drop, priority: 100, tool: "*drop*", action: deny, reason: "nothing is dropped through the gateway" }

limits:
  perMinute: 120
`;

const everything = `  # The protocol's own test server, fetched by npx.
  - id: everything
    command: npx
    args: [-y, "@modelcontextprotocol/server-everything@2026.8.31"]
    timeout: 60s
`;

const noEverything = `  # Left out because npx is not installed: the protocol's own test server.
  # - id: everything
  #   command: npx
  #   args: [-y, "@modelcontextprotocol/server-everything@2026.8.31"]
  #   timeout: 60s
`;

const demo = (withEverything: boolean): string => `${schemaLine}
# Demonstration of mcpgw: one role, and calls that are refused.

listen:
  http: 127.0.0.1:7332

servers:
  - id: calculator
    builtin: calculator
${withEverything ? everything : noEverything}
# Guardrails apply to all roles and take precedence over their policies.
rules:
  # Try it: exact_calculate with operator power is refused, and the refusal names this rule.
  - id: demo-no-power
    priority: 100
    server: calculator
    tool: exact_calculate
    when: { args.operator: { eq: power } }
    action: deny
    reason: powers are switched off in the demonstration, to show a refusal
  # This tool prints the environment of its process, so it is denied and not even listed.
  - id: demo-no-environment
    priority: 100
    tool: "*env*"
    action: deny

policies:
  - id: demo-policy
    roles: [demo]
    rules:
      - { server: calculator, action: allow }
${withEverything ? '      - { server: everything, tool: "*", action: allow }\n' : ""}      - { server: mcpgw, tool: list_servers, action: allow }
      - { server: mcpgw, tool: audit_verify, action: allow }

limits:
  perMinute: 600
`;

export type InitOptions = {
  readonly file: string;
  readonly force: boolean;
  /** Writes the demo, with `npx` saying whether npx is installed; null writes the commented starter. */
  readonly demo: { readonly npx: boolean } | null;
};

/** Returns the text of a first configuration. */
export function initText(options: InitOptions["demo"]): string {
  return options ? demo(options.npx) : starter;
}

/** Writes a first configuration and its JSON Schema for editors; throws if a file exists and `force` is not set. */
export function initConfig({ file, force, demo: demonstration }: InitOptions): { file: string; schema: string } {
  const schema = join(dirname(file), schemaFile);
  const schemaText = `${JSON.stringify(jsonSchema(), null, 2)}\n`;
  const there = new Set([file, schema].filter(isThere));
  // Several configurations in one directory share the schema file.
  const hasSchema = there.has(schema) && readFileSync(schema, "utf8") === schemaText;
  if (hasSchema) there.delete(schema);
  const [taken] = there;
  if (taken !== undefined && !force) throw new Error(`${taken} already exists; --force replaces it`);
  // The group may read the file, because the daemon's user is often not the owner.
  put(file, initText(demonstration), { force, mode: 0o640 });
  if (!hasSchema) put(schema, schemaText, { force, mode: 0o644 });
  return { file, schema };
}

/** Reports whether a file exists at a path; throws if something else is there, or if no file can be there. */
function isThere(path: string): boolean {
  const unless = { throwIfNoEntry: false };
  let found;
  try {
    found = statSync(path, unless) ?? lstatSync(path, unless);
  } catch (error) {
    throw unwritable(error, path);
  }
  if (found?.isFile() ?? true) return found !== undefined;
  throw new Error(`${path} already exists and is not a regular file; name another place with --config`);
}

function put(path: string, text: string, { force, mode }: { force: boolean; mode: number }): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { flag: force ? "w" : "wx", mode });
  } catch (error) {
    // A partial file would block the next attempt. If nothing can be written, removing it fails too.
    if (codeOf(error) !== "EEXIST" && !force) orNull(() => rmSync(path, { force: true }));
    throw unwritable(error, path);
  }
}

const unwritable = (error: unknown, path: string): Error =>
  new Error(whyUnwritable(error, path, "name another with --config"), { cause: error });

import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import type { Call } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import type { AuditEvent, Facts, RecordType } from "../core/event.ts";
import { unknownTargets } from "../core/failure.ts";
import type { InputStep, Reached } from "../core/ports.ts";
import type { Source } from "../core/principal.ts";
import type { Payload, SubjectRow } from "../core/store.ts";
import { cut } from "../core/text.ts";
import type { AuditOptions } from "./options.ts";
import { type Fields, readRecord } from "./record.ts";
import { createRedactor, type Redactor } from "./redact.ts";
import { sessionName } from "./session-name.ts";
import { createSubject } from "./subject.ts";

/** A record without its position in the chain, and the payload stored with it. */
export type Draft = { readonly fields: Fields; readonly payload: Payload | null };

type RedactOptions = Pick<AuditOptions, "payloads" | "redact">;

const maxName = 200;
const maxReason = 500;
const shortId = 12;
/** The arguments of this tool contain those of another call. */
const nestingTool = "mcpgw:call";
const maxNames = 10_000;
/** Maximum number of pseudonyms that wait for a commit; each attempt to commit writes them all. */
const maxWaiting = 1000;
/** Stands for every further address while that many pseudonyms wait. */
const unnamed = "~";

/** Turns calls and events into drafts. Untrusted texts are cut so that a record stays small. */
export class Drafts {
  /** Pseudonyms not yet committed, at most `maxWaiting`. */
  readonly subjects: SubjectRow[] = [];
  readonly #clock: Clock;
  readonly #secrets: () => readonly string[];
  /** Names of addresses in records, cached so that each address is classified only once. */
  readonly #names: BoundedMap<string>;
  #redactor: Redactor;

  constructor(options: RedactOptions, secrets: () => readonly string[], clock: Clock) {
    this.#clock = clock;
    this.#names = createBoundedMap({ cap: maxNames, clock });
    this.#secrets = secrets;
    this.#redactor = createRedactor(options, secrets);
  }

  configure(options: RedactOptions): void {
    this.#redactor = createRedactor(options, this.#secrets);
  }

  begin(call: Call): Draft {
    return this.#intent("call.begin", call, "none");
  }

  /** Drafts the end record; `ref` is the sequence of the begin record, undefined if none could be written. */
  end(call: Call, ref: number | undefined): Draft {
    const { who, route, reply } = call;
    const result = reply && this.#redactor.part("result", reply.text);
    // Each record of a call is one object literal: copying parts into it would cost as much as everything else here.
    const fields: Fields = {
      type: "call.end",
      at: this.#clock.now(),
      mono: this.#clock.mono(),
      call: call.id,
      caller: who?.keyId ?? who?.id,
      consumer: who?.consumerId,
      method: this.#method(call),
      srv: route?.server,
      tool: this.#tool(call),
      trace: call.trace ?? undefined,
      st: call.status,
      us: call.took,
      ref,
      pay: this.#redactor.mode,
      al: Buffer.byteLength(call.argumentsText),
      rd: result?.sealed?.commitment,
      rl: result?.length ?? 0,
      rcut: result?.cut || undefined,
    };
    return { fields: this.#withFault(fields, call), payload: result?.sealed ?? null };
  }

  refused(call: Call): Draft {
    const { fields, payload } = this.#intent("call.refused", call, undefined);
    return { fields: this.#withFault({ ...fields, st: call.status, us: call.took }, call), payload };
  }

  /** Drafts the single record of a subscription: who asked for what, the decision, and that it was granted. */
  once(call: Call, facts: Facts): Draft {
    const { notifications } = call.inbound.params;
    // No other field could hold which resources and tasks were asked for.
    const asked = notifications === undefined ? call.argumentsText : JSON.stringify(notifications);
    const { fields, payload } = this.#intent("call.end", call, undefined, asked);
    const outcome = { st: "ok", us: this.#clock.mono() - call.started };
    return { fields: { ...fields, ...outcome, facts: safe(facts, this.#redactor) }, payload };
  }

  /** Drafts a question to the caller, or its outcome; `ref` is the sequence of the call's begin record. */
  input(call: Call, step: InputStep, ref: number | undefined): Draft {
    return this.#input({ type: "call.input", ...this.#stamp(), ...this.#identity(call, ref) }, step);
  }

  /** Does the same for a question to a session, outside of any call. */
  inputOutside({ who, source, session }: Reached, server: string, step: InputStep): Draft {
    const to = { caller: who.keyId ?? who.id, consumer: who.consumerId, subj: who.id, srv: server };
    const from = { src: this.source(source), sess: sessionName(session) };
    return this.#input({ type: "session.input", ...this.#stamp(), ...to, ...from }, step);
  }

  #input(of: Fields, { request, outcome, answer, rule, reason, of: earlier }: InputStep): Draft {
    const part = answer === null ? "args" : "result";
    const body = this.#redactor.part(part, answer ?? request.params);
    const { sealed, length, cut: shortened } = body;
    const held =
      answer === null
        ? { ad: sealed?.commitment, al: length, acut: shortened || undefined }
        : { rd: sealed?.commitment, rl: length, rcut: shortened || undefined };
    const facts = { asks: request.method, outcome, ...(earlier && { of: earlier }) };
    const why = { rule: rule ?? undefined, reason: this.#shown(reason) };
    return { fields: { ...of, ...why, pay: this.#redactor.mode, facts, ...held }, payload: sealed };
  }

  lost(call: Call, ref: number): Draft {
    const reason = "the outcome could not be recorded when it was known";
    const al = Buffer.byteLength(call.argumentsText);
    const outcome = { st: "lost", reason, us: call.took, al };
    return { fields: { type: "call.lost", ...this.#stamp(), ...this.#identity(call, ref), ...outcome }, payload: null };
  }

  /** Returns the fields by which the rarer records identify their call. */
  #identity(call: Call, ref: number | undefined) {
    const { who, route, trace } = call;
    return {
      call: call.id,
      caller: who?.keyId ?? who?.id,
      consumer: who?.consumerId,
      method: this.#method(call),
      srv: route?.server,
      tool: this.#tool(call),
      trace: trace ?? undefined,
      ref,
    };
  }

  event({ type, actor, consumer, key, facts }: AuditEvent): Draft {
    const who = cut(actor, maxName);
    const named = { caller: key ?? who, subj: consumer === undefined ? undefined : who, consumer };
    return { fields: { type, ...this.#stamp(), ...named, facts: safe(facts, this.#redactor) }, payload: null };
  }

  /** Returns where a request came from, without personal addresses. */
  source(source: Source): string {
    const { transport, ip } = source;
    if (ip === null) return transport;
    return `${transport}:${this.#names.get(ip) ?? this.#newName(ip, source.loopback)}`;
  }

  #newName(ip: string, loopback: boolean): string {
    const name = loopback ? ip : this.#newPseudonym(ip);
    if (name !== unnamed) this.#names.set(ip, name);
    return name;
  }

  #newPseudonym(ip: string): string {
    if (this.subjects.length >= maxWaiting) return unnamed;
    const subject = createSubject(ip);
    this.subjects.push(subject);
    return subject.id;
  }

  #stamp(): { at: number; mono: number } {
    return { at: this.#clock.now(), mono: this.#clock.mono() };
  }

  /** Drafts who asked for what and the decision: the fields that begin records and refusals share. */
  #intent(type: RecordType, call: Call, sbx: string | undefined, asked = call.argumentsText): Draft {
    const { who, route, verdict, inbound, session } = call;
    const args = this.#redactor.part("args", asked, route?.canonical === nestingTool);
    const fields = {
      type,
      at: this.#clock.now(),
      mono: this.#clock.mono(),
      call: call.id,
      caller: who?.keyId ?? who?.id,
      consumer: who?.consumerId,
      method: this.#method(call),
      srv: route?.server,
      tool: this.#tool(call),
      trace: call.trace ?? undefined,
      subj: who?.id,
      roles: who?.roles,
      src: this.source(call.source),
      sess: session ? sessionName(session) : undefined,
      rpc: inbound.idText === null ? undefined : this.#idText(inbound.idText),
      pol: call.policy ?? undefined,
      rule: verdict?.rule ?? call.failure?.detail.rule,
      reason: verdict?.reason,
      sbx,
      pay: this.#redactor.mode,
      ad: args.sealed?.commitment,
      al: args.length,
      acut: args.cut || undefined,
      facts: call.source.peer,
    };
    return { fields, payload: args.sealed };
  }

  #method({ knownMethod, inbound }: Call): string {
    return knownMethod === "other" ? cut(this.#redactor.text(inbound.method), maxName) : inbound.method;
  }

  /** Returns the called name. Only tools and prompts are named by a server; callers choose all other names. */
  #tool(call: Call): string | undefined {
    const { route, target } = call;
    if (route?.kind === "extension") return this.#method(call);
    if (route?.kind === "resource") return this.#redactor.text(route.name);
    if (route) return route.name;
    return target === null ? undefined : cut(this.#redactor.text(target), maxName);
  }

  /** Returns the request id, which the caller chooses: any but a very short one may hold a credential. */
  #idText(idText: string): string {
    return idText.length < shortId ? idText : cut(this.#redactor.text(idText), maxName);
  }

  /** Adds why the call failed, or the code of a reply that is an error or not complete. */
  #withFault(fields: Fields, { failure, reply }: Call): Fields {
    const code = reply?.kind === "error" ? String(reply.code) : this.#shown(reply?.type ?? undefined);
    if (!failure) return code ? { ...fields, code } : fields;
    const { code: of, message, detail } = failure;
    // The code and the message say that something hidden does not exist; the record gives the real reason.
    const why = unknownTargets.has(of) ? fields.reason : undefined;
    return { ...fields, code: of, reason: why ?? this.#shown(message), cause: this.#shown(detail.internal) };
  }

  #shown(text: string | undefined): string | undefined {
    return text && cut(this.#redactor.text(text), maxReason);
  }
}

/** Drafts the ending of a call that was in flight when the process died, from its begin record. */
export function lostDraft(
  begin: { readonly rec: string; readonly seq: number },
  now: { at: number; mono: number },
): Draft {
  const { call, caller, consumer, srv, tool, method, trace, al } = readRecord(begin.rec);
  const reason = "the gateway stopped before the outcome was recorded; the tool may have run";
  const outcome = { ref: begin.seq, st: "lost", reason };
  return {
    fields: { type: "call.lost", ...now, call, caller, consumer, srv, tool, method, trace, al, ...outcome },
    payload: null,
  };
}

function safe(facts: Facts, redactor: Redactor): Fields["facts"] {
  const kept: Record<string, string | number | boolean | null> = {};
  for (const [key, value] of Object.entries(facts)) {
    if (typeof value === "string") kept[key] = cut(redactor.text(value), maxReason);
    else kept[key] = typeof value === "number" && !Number.isSafeInteger(value) ? String(value) : value;
  }
  return kept;
}

export type Captured = { readonly out: string; readonly err: string; readonly code: number };

type Options = { readonly cwd?: string; readonly env?: Record<string, string | undefined>; readonly timeout?: number };

/** Runs a command to its end without input; throws if it cannot be started. */
export async function capture(command: readonly string[], options: Options = {}): Promise<Captured> {
  const child = Bun.spawn([...command], { ...options, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { out, err, code };
}

import { ensureBinary, root } from "./build.ts";

// Runs test/fault with MCPGW_FAULT_ROUNDS rounds. Without this variable the tests run only a few rounds.

const defaultRounds = 200;
const minutes = 60;

async function main([given = String(defaultRounds), ...files]: readonly string[]): Promise<number> {
  const rounds = Number(given);
  if (!Number.isInteger(rounds) || rounds < 1) {
    console.error(`"${given}" is not a number of rounds; usage: scripts/fault [ROUNDS] [test files…]`);
    return 2;
  }
  const binary = await ensureBinary();
  const started = performance.now();
  const chosen = files.length > 0 ? files : ["test/fault"];
  const child = Bun.spawn([process.execPath, "test", `--timeout=${minutes * 60_000}`, ...chosen], {
    cwd: root,
    env: { ...process.env, MCPGW_BIN: binary, MCPGW_FAULT_ROUNDS: String(rounds) },
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    timeout: minutes * 60_000,
    killSignal: "SIGKILL",
  });
  const code = await child.exited;
  console.log(`${rounds} rounds in ${((performance.now() - started) / 1000).toFixed(0)} s, exit code ${code}`);
  return code;
}

process.exitCode = await main(process.argv.slice(2));

/** Stops the whole process for so long, timers and all, as a container that is paused; not before `after` ms. */
export async function standStill(ms: number, after = 0): Promise<void> {
  const { pid } = process;
  const script = `sleep ${after / 1000}; kill -STOP ${pid}; sleep ${ms / 1000}; kill -CONT ${pid}`;
  await Bun.spawn(["sh", "-c", script]).exited;
}

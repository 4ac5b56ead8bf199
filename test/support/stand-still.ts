/** Stops the whole process for so long, timers and all, as a container that is paused. */
export async function standStill(ms: number): Promise<void> {
  const { pid } = process;
  await Bun.spawn(["sh", "-c", `kill -STOP ${pid}; sleep ${ms / 1000}; kill -CONT ${pid}`]).exited;
}

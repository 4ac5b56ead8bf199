import { Failure } from "../../src/core/failure.ts";

/** Returns the Failure that `run` throws; fails the test if it throws none. */
export function failureOf(run: () => unknown): Failure {
  try {
    run();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** Resolves to the reason with which a promise rejects; rejects if the promise resolves. */
export const rejectionOf = (promise: Promise<unknown>): Promise<Failure> =>
  promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: Failure) => error,
  );

/** Resolves to the reason with which a promise rejects; null if it resolves. */
export const reasonOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (reason: unknown) => reason,
  );

/** Returns the code of the Failure with which a record is refused; `recorded` if it is not refused. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "recorded",
    (error: Failure) => error.code,
  );

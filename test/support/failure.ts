import { Failure } from "../../src/core/failure.ts";

/** The Failure that `run` throws; fails the test when it throws none. */
export function failureOf(run: () => unknown): Failure {
  try {
    run();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** What a promise rejects with; it rejects itself when that resolves. */
export const rejectionOf = (promise: Promise<unknown>): Promise<Failure> =>
  promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: Failure) => error,
  );

/** What a promise rejects with; null when it resolves. */
export const reasonOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (reason: unknown) => reason,
  );

/** The code of the Failure with which a record is refused; `recorded` when it is not. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "recorded",
    (error: Failure) => error.code,
  );

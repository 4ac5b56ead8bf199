import { z } from "zod";
import { operatorNames } from "./arithmetic.ts";
import { maxOperands } from "./number.ts";

const number = z
  .union([z.string(), z.number()])
  .describe('A decimal number; a string keeps every digit, for example "12.50"');

/** A tool's result, typed by its output schema. */
type Answer<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>;

const precision = z
  .number()
  .int()
  .min(1)
  .max(1000)
  .default(28)
  .describe("Significant digits of the result, which is rounded half to even");

export const calculateInput = {
  operator: z.enum(operatorNames).describe("Operation to apply, from left to right if there are several operands"),
  operands: z.array(number).min(1).max(maxOperands).describe("The numbers, in order"),
  precision,
};

export const calculateOutput = {
  result: z.string().describe("The result as a decimal number"),
  exact: z.boolean().describe("True only if nothing was rounded away"),
};

export const statisticsInput = {
  values: z.array(number).min(1).max(maxOperands).describe("The numbers to summarize"),
  precision,
};

export const statisticsOutput = {
  count: z.number().int(),
  sum: z.string(),
  mean: z.string(),
  median: z.string(),
  mode: z.array(z.string()).describe("All most frequent values; empty if no value repeats"),
  min: z.string(),
  max: z.string(),
  variance: z.string().nullable().describe("Sample statistic (n - 1); null for a single value"),
  stdev: z.string().nullable().describe("Sample statistic (n - 1); null for a single value"),
  populationVariance: z.string(),
  populationStdev: z.string(),
};
export type Statistics = Answer<typeof statisticsOutput>;

export const convertInput = {
  value: number,
  from: z.string().max(40).describe("Unit of the value"),
  to: z.string().max(40).describe("Unit of the result"),
  precision,
};

export const convertOutput = {
  result: z.string().describe("The value in the unit `to`"),
  exact: z.boolean().describe("True only if nothing was rounded away"),
  from: z.string(),
  to: z.string(),
  dimension: z.string(),
};
export type Conversion = Answer<typeof convertOutput>;

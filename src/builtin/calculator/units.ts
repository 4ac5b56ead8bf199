import { Decimal } from "decimal.js";
import { nearest } from "../../core/nearest.ts";
import { CalculatorError, context, exactProduct, exactSum, readNumber } from "./number.ts";
import type { Conversion } from "./options.ts";

/** Base value = (value + offset) × numerator ÷ denominator; each number is exact by the definition of the unit. */
type Unit = readonly [numerator: string, denominator?: string, offset?: string];

/** Units by dimension; the first unit of each is the base. US customary measures unless the name says imperial. */
export const dimensions: Readonly<Record<string, Readonly<Record<string, Unit>>>> = {
  length: {
    m: ["1"],
    nm: ["1e-9"],
    um: ["1e-6"],
    mm: ["0.001"],
    cm: ["0.01"],
    km: ["1000"],
    in: ["0.0254"],
    ft: ["0.3048"],
    yd: ["0.9144"],
    mi: ["1609.344"],
    nmi: ["1852"],
  },
  area: {
    m2: ["1"],
    cm2: ["0.0001"],
    ha: ["10000"],
    km2: ["1000000"],
    in2: ["0.00064516"],
    ft2: ["0.09290304"],
    acre: ["4046.8564224"],
    mi2: ["2589988.110336"],
  },
  volume: {
    l: ["1"],
    ml: ["0.001"],
    cm3: ["0.001"],
    m3: ["1000"],
    in3: ["0.016387064"],
    ft3: ["28.316846592"],
    floz: ["0.0295735295625"],
    cup: ["0.2365882365"],
    pt: ["0.473176473"],
    qt: ["0.946352946"],
    gal: ["3.785411784"],
    imperial_pt: ["0.56826125"],
    imperial_gal: ["4.54609"],
  },
  mass: {
    kg: ["1"],
    ug: ["1e-9"],
    mg: ["0.000001"],
    g: ["0.001"],
    t: ["1000"],
    oz: ["0.028349523125"],
    lb: ["0.45359237"],
    st: ["6.35029318"],
    short_ton: ["907.18474"],
  },
  time: {
    s: ["1"],
    ns: ["1e-9"],
    us: ["1e-6"],
    ms: ["0.001"],
    min: ["60"],
    h: ["3600"],
    d: ["86400"],
    week: ["604800"],
  },
  temperature: {
    K: ["1"],
    C: ["1", "1", "273.15"],
    F: ["5", "9", "459.67"],
    R: ["5", "9"],
  },
  data: {
    B: ["1"],
    bit: ["1", "8"],
    kbit: ["125"],
    Mbit: ["125000"],
    Gbit: ["125000000"],
    kB: ["1000"],
    MB: ["1000000"],
    GB: ["1000000000"],
    TB: ["1000000000000"],
    PB: ["1000000000000000"],
    KiB: ["1024"],
    MiB: ["1048576"],
    GiB: ["1073741824"],
    TiB: ["1099511627776"],
    PiB: ["1125899906842624"],
  },
  speed: {
    "m/s": ["1"],
    "km/h": ["5", "18"],
    "ft/s": ["0.3048"],
    mph: ["0.44704"],
    kn: ["463", "900"],
  },
  energy: {
    J: ["1"],
    kJ: ["1000"],
    cal: ["4.184"],
    kcal: ["4184"],
    Wh: ["3600"],
    kWh: ["3600000"],
    Btu: ["1055.05585262"],
  },
  pressure: {
    Pa: ["1"],
    kPa: ["1000"],
    bar: ["100000"],
    atm: ["101325"],
    psi: ["4.4482216152605", "0.00064516"],
    Torr: ["101325", "760"],
  },
};

/** Converts a value between two units of one dimension; rounds once, half to even, to `precision` digits. */
export function convert(value: string | number, from: string, to: string, precision: number): Conversion {
  const dimension = dimensionOf(from);
  const target = dimensionOf(to);
  if (dimension !== target) {
    throw new CalculatorError(`cannot convert ${from}, a unit of ${dimension}, to ${to}, a unit of ${target}`);
  }
  const [n1, d1, o1] = numbers(dimension, from);
  const [n2, d2, o2] = numbers(dimension, to);
  // A single fraction with exact numerator and denominator, so that only one division rounds.
  const divisor = exactProduct(d1, n2);
  const shifted = exactProduct(exactProduct(exactSum([readNumber(value), o1]), n1), d2);
  const dividend = exactSum([shifted, exactProduct(o2, divisor).neg()]);
  const divide = (rounding: Decimal.Rounding): Decimal => context(precision, rounding).div(dividend, divisor);
  const exact = divide(Decimal.ROUND_DOWN).eq(divide(Decimal.ROUND_UP));
  return { result: divide(Decimal.ROUND_HALF_EVEN).toString(), exact, from, to, dimension };
}

function dimensionOf(unit: string): string {
  const found = Object.entries(dimensions).find(([, units]) => Object.hasOwn(units, unit));
  if (found) return found[0];
  const names = Object.values(dimensions).flatMap((units) => Object.keys(units));
  const guess = nearest(unit, names);
  throw new CalculatorError(
    `unknown unit ${JSON.stringify(unit.slice(0, 40))}; ${guess ? `did you mean ${guess}?` : `known: ${names.join(" ")}`}`,
  );
}

function numbers(dimension: string, unit: string): [Decimal, Decimal, Decimal] {
  const [numerator, denominator = "1", offset = "0"] = dimensions[dimension]?.[unit] ?? ["1"];
  return [new Decimal(numerator), new Decimal(denominator), new Decimal(offset)];
}

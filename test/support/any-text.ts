import fc from "fast-check";

const codePoint = fc.nat(0x10ffff).filter((point) => point < 0xd800 || point > 0xdfff);

/** Any well-formed text. The strings of the library itself take seconds to set up. */
export const anyText = fc.array(codePoint).map((points) => String.fromCodePoint(...points));

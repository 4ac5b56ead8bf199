import fc from "fast-check";

const codePoint = fc.nat(0x10ffff).filter((point) => point < 0xd800 || point > 0xdfff);

/** Returns any well-formed text. The library's own string arbitraries take seconds to set up. */
export const anyText = fc.array(codePoint).map((points) => String.fromCodePoint(...points));

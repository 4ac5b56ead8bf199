import { describe, expect, test } from "bun:test";
import { Ajv } from "ajv";
import { Ajv2019 } from "ajv/dist/2019.js";
import { Ajv2020 } from "ajv/dist/2020.js";
import draft07 from "ajv/dist/refs/json-schema-draft-07.json";
import olderApplicator from "ajv/dist/refs/json-schema-2019-09/meta/applicator.json";
import olderCore from "ajv/dist/refs/json-schema-2019-09/meta/core.json";
import draft2019 from "ajv/dist/refs/json-schema-2019-09/schema.json";
import applicator from "ajv/dist/refs/json-schema-2020-12/meta/applicator.json";
import content from "ajv/dist/refs/json-schema-2020-12/meta/content.json";
import core from "ajv/dist/refs/json-schema-2020-12/meta/core.json";
import format from "ajv/dist/refs/json-schema-2020-12/meta/format-annotation.json";
import metadata from "ajv/dist/refs/json-schema-2020-12/meta/meta-data.json";
import unevaluated from "ajv/dist/refs/json-schema-2020-12/meta/unevaluated.json";
import validation from "ajv/dist/refs/json-schema-2020-12/meta/validation.json";
import draft2020 from "ajv/dist/refs/json-schema-2020-12/schema.json";
import { schemaFault } from "../../src/validate/metaschema.ts";

const older = [draft07, draft2019, olderApplicator, olderCore];
const published = [...older, draft2020, applicator, content, core, format, metadata, unevaluated, validation];
const keywords = [...new Set(published.flatMap(({ properties }) => Object.keys(properties)))];

const right = { type: "string" };
const wrong = { type: "strnig" };
const scalars = [null, true, false, 0, 1, 2.5, -1, "", "object", "strnig", "a#b", "1a"];
const lists = [[], ["a"], ["a", "a"], ["object"], ["object", "object"], [1], [1, 1], [right], [wrong], [right, true]];
const sames = [
  [
    { a: 1, b: 2 },
    { b: 2, a: 1 },
  ],
  [1, "1"],
];
const maps = [{}, right, wrong, { a: right }, { a: wrong }, { a: ["b"] }, { a: ["b", "b"] }, { a: 1 }, { a: true }];
const values: readonly unknown[] = [...scalars, ...lists, ...sames, ...maps];

const settings = { strict: false, validateFormats: false, logger: false } as const;
const validators = {
  "2020-12": new Ajv2020(settings),
  "2019-09": new Ajv2019(settings),
  "draft-07": new Ajv(settings),
};

describe.each(["2020-12", "2019-09", "draft-07"] as const)("schemas of %s", (dialect) => {
  const ajv = validators[dialect];

  // Ids are handled before anything is checked: those of parts are refused, and the root's is removed.
  test.each([...keywords, "constructor"].filter((keyword) => !/^\$(id|schema)$/.test(keyword)))(
    "%s is judged as by the published metaschema",
    (keyword) => {
      for (const value of values) {
        for (const schema of [{ [keyword]: value }, { properties: { part: { not: { [keyword]: value } } } }]) {
          const valid = ajv.validateSchema(schema) === true;
          expect({ schema, valid: schemaFault(schema, dialect) === null }).toEqual({ schema, valid });
        }
      }
    },
  );

  test("a fault names its location", () => {
    const schema = { properties: { id: { anyOf: [{ type: "strnig" }] } } };
    const types = "array, boolean, integer, null, number, object, string";
    expect(schemaFault(schema, dialect)).toBe(`/properties/id/anyOf/0/type must be one of ${types}`);
  });
});

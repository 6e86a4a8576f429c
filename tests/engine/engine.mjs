// The pages' engine for tests in node: all that computes in src/common/pages/widgets and needs no page.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

// Where the sources are: tools/mutate_js.mjs names a folder with a changed copy of them.
const FOLDER = process.env.ENGINE_SOURCES
  ? pathToFileURL(`${process.env.ENGINE_SOURCES}/`)
  : new URL("../../src/common/pages/widgets/", import.meta.url);

// What belongs to the engine: a file's own functions and constants, or all of them. The rest draws.
export const ENGINE = {
  model: "all",
  constraints: "all",
  translate: "all",
  page: ["percent", "count", "keeper", "follow", "leftOut", "likeliest", "favourites"],
  field: ["dilationsOf", "pathsOf", "parametersOf"],
  valley: ["STEPS", "path"],
  wave: ["clamp", "PRESETS", "freeRun", "weighedRun"],
  writer: ["step", "surprise", "drawn"],
  listening: ["wav"],
};

// Front ends as one module, as `_source` in widgets/__init__.py joins them, and every name of it.
export function load(...files) {
  const source = files.map((file) => readFileSync(new URL(`${file}.js`, FOLDER), "utf8")).join("\n").replace(/^export default.*$/gm, "");
  const names = [...source.matchAll(/^(?:const|function) (\w+|\[.*?\])/gm)].flatMap(([, name]) => name.match(/\w+/g));
  return new Function(`${source}\nreturn { ${names.join(", ")} };`)();
}

// What `common` computed: tools/engine_vectors.py.
export const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));

// A stored model, given by itself or by the name of a stored network.
const storedAt = ({ stages, weights, model }) => (stages ? { stages, weights } : vectors.networks.find(({ name }) => name === model));
export function stagesOf(one, readStages) {
  const { stages, weights } = storedAt(one);
  return readStages(stages, Buffer.from(weights, "base64"));
}

// Numbers in any nesting, typed arrays among them, as far from each other as floats of 32 bits may be.
const numbers = (value) => (typeof value === "number" ? [value] : [...value].flatMap(numbers));
export function near(found, wanted, tolerance = 2e-6) {
  const [got, should] = [numbers(found), numbers(wanted)];
  if (got.length !== should.length) throw new Error(`expected ${should.length} numbers, got ${got.length}`);
  should.forEach((number, i) => {
    if (!(Math.abs(got[i] - number) <= tolerance * Math.max(1, Math.abs(number)))) throw new Error(`expected ${number} at place ${i}, got ${got[i]}`);
  });
}

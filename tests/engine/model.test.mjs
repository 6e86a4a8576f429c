// model.js: layers, networks, gradients, and what asks them, beside what `common` computes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load, near, stagesOf, vectors } from "./engine.mjs";

const engine = load("page", "model");
const { LAYERS, everyLayer, recurs, through, forward, logits, influence, contextOf, contextFor, reach, reader, afterEach } = engine;
const stageOf = (one) => stagesOf(one, engine.readStages)[0];
const floats = (numbers) => Float32Array.from(numbers);
const indices = (numbers) => Int32Array.from(numbers);
const named = (name) => stageOf({ model: name });

for (const one of vectors.layers) {
  test(`layer: ${one.name}`, () => {
    const { layers } = stageOf(one);
    const value = { data: (layers[0].kind === "embedding" ? indices : floats)(one.x.data), shape: one.x.shape };
    const cells = everyLayer(layers).filter(recurs);
    const memory = new Map((one.start ?? []).map((state, k) => [cells[k], state.map(floats)]));
    const values = through(layers, value, memory);
    assert.equal(values.length, layers.length + 1);
    assert.equal(values[0], value);
    assert.deepEqual(values.at(-1).shape, one.y.shape);
    near(values.at(-1).data, one.y.data);
    if (one.end) near(cells.map((cell) => memory.get(cell)), one.end);
  });
}

test("a cell without a memory begins at zero, and leaves nothing", () => {
  const [one] = vectors.layers.filter(({ start }) => start);
  const { layers } = stageOf(one);
  const value = { data: floats(one.x.data), shape: one.x.shape };
  const zeros = new Map([[layers[0], one.start[0].map((part) => floats(part.map(() => 0)))]]);
  near(through(layers, value).at(-1).data, through(layers, value, zeros).at(-1).data, 0);
});

test("numbers of all kinds are read from a string that begins anywhere", () => {
  const [one] = vectors.layers.filter(({ name }) => name === "8 bits");
  const bytes = Buffer.concat([Buffer.alloc(3), Buffer.from(one.weights, "base64")]).subarray(3);
  near(through(engine.readStages(one.stages, bytes)[0].layers, { data: floats(one.x.data), shape: one.x.shape }).at(-1).data, one.y.data);
});

test("what is read leaves the description as it is", () => {
  const { stages } = vectors.networks[0];
  const before = JSON.stringify(stages);
  stageOf(vectors.networks[0]);
  assert.equal(JSON.stringify(stages), before);
});

for (const { kind, x, y } of vectors.activations) {
  test(`activation: ${kind}`, () => near(LAYERS[kind]({}, { data: Float64Array.from(x), shape: [x.length] }).data, y, 2e-7 * 6));
}

test("the share of a normal distribution below x is right to 1e-7", () => {
  const { x, y } = vectors.activations[0];
  x.forEach((at, i) => at && near(engine.below(at), y[i] / at, 1.5e-7));
});

test("floats of 16 bits are exact", () => {
  const [{ bits, halves }] = vectors.numbers;
  near(engine.fromHalves(Uint16Array.from(bits)), halves, 1e-7);
  assert.equal(engine.fromHalves(Uint16Array.of(1))[0], 2 ** -24);
  assert.ok(Object.is(engine.fromHalves(Uint16Array.of(0x8000))[0], -0));
});

test("whole numbers of 8 bits have a step a row", () => {
  near(engine.fromSteps(floats([0.5, 2]), Int8Array.of(1, -2, 3, 4, -5, 127)), [0.5, -1, 1.5, 8, -10, 254], 0);
});

test("every layer that the engine knows has a vector, forwards and backwards", () => {
  const kinds = (cases) => new Set(cases.flatMap((one) => everyLayer(one.stages.flatMap(({ layers }) => layers))).map(({ kind }) => kind));
  const { layers, activations, networks, sentences } = vectors;
  const forwards = kinds([...layers, ...networks, ...sentences]);
  for (const { kind } of activations) forwards.add(kind);
  assert.deepEqual(Object.keys(LAYERS).filter((kind) => !forwards.has(kind)), []);
  const backwards = kinds(networks.filter(({ moved }) => moved.length));
  assert.deepEqual(Object.keys(engine.BACKWARD).filter((kind) => !backwards.has(kind)), []);
});

// ---- networks

for (const one of vectors.networks) {
  test(`network: ${one.name}`, () => {
    const stage = stageOf(one);
    const memory = new Map();
    const found = forward(stage, indices(one.x), one.T, memory);
    assert.deepEqual(found.at(-1).shape, one.logits.shape);
    near(found.at(-1).data, one.logits.data);
    near(logits(stage, indices(one.x), one.T).data, one.logits.data);
    for (const { context, chosen, influence: wanted } of one.moved)
      near(influence(stage, forward(stage, indices(context)), chosen), wanted);
  });
}

test("what each head reads is in the memory, one list an attention layer", () => {
  const one = vectors.networks.find(({ name }) => name === "transformer");
  const stage = stageOf(one);
  const memory = new Map();
  forward(stage, indices(one.x), one.T, memory);
  assert.deepEqual([...memory.keys()], everyLayer(stage.layers).filter(({ kind }) => kind === "attention"));
  near([...memory.values()], one.read);
});

test("a window is asked a window at a time, whole names are one unless told", () => {
  const [window, whole] = [named("tree"), named("sliding")];
  assert.deepEqual(forward(window, indices([0, 0, 1, 2, 3, 4, 5, 1]))[0].shape, [2, 4]);
  assert.deepEqual(forward(whole, indices([0, 0, 1, 2, 3, 4]))[0].shape, [1, 6]);
  assert.deepEqual(forward(whole, indices([0, 0, 1, 2, 3, 4]), 3)[0].shape, [2, 3]);
});

test("how far a prediction reaches back", () => {
  const reaches = Object.fromEntries(vectors.networks.map((one) => [one.name, reach(stageOf(one))]));
  assert.deepEqual(reaches, { tree: 4, sliding: 6, state: Infinity, mixed: Infinity, transformer: Infinity });
  assert.equal(reach({ layers: [{ kind: "linear" }] }), 1);
});

test("a name is asked with dots in front, as much of it as counts", () => {
  assert.deepEqual([...contextOf([1, 2, 3], 5)], [0, 0, 1, 2, 3]);
  assert.deepEqual([...contextOf([1, 2, 3], 2)], [2, 3]);
  assert.deepEqual([...contextOf([1, 2, 3], 3)], [1, 2, 3]);
  assert.deepEqual([...contextOf([], 2)], [0, 0]);
  assert.deepEqual([...contextFor(named("tree"), [1, 2])], [0, 0, 1, 2]);
  assert.deepEqual([...contextFor(named("sliding"), [1, 2])], [0, 1, 2]);
  assert.deepEqual([...contextFor(named("sliding"), [1, 2, 3, 4, 5, 1])], [1, 2, 3, 4, 5, 1]);
  assert.deepEqual([...contextFor(named("sliding"), [1, 2, 3, 4, 5])], [0, 1, 2, 3, 4, 5]);
  assert.deepEqual([...contextFor(named("state"), [1, 2, 3, 4, 5, 1, 2, 3])], [0, 1, 2, 3, 4, 5, 1, 2, 3]);
});

// Runs with the lengths of all lists of indices that embeddings were given.
function asked(run) {
  const lengths = [];
  const { embedding } = LAYERS;
  LAYERS.embedding = (layer, value) => (lengths.push(value.data.length), embedding(layer, value));
  try {
    run();
  } finally {
    LAYERS.embedding = embedding;
  }
  return lengths;
}

for (const { name, start, steps, rows, ...one } of vectors.growing) {
  test(`names that grow: ${name}`, () => {
    const read = reader(stageOf(one));
    let open = steps[0].map(() => [...start]);
    const lengths = asked(() => steps.forEach((letters, step) => {
      near(read(open), rows[step]);
      open = open.filter((own, i) => letters[i] && own.push(letters[i]));
    }));
    const many = [3, 3, 2, 2, 1, 1]; // names that are open
    if (name === "state" || name === "stacked") assert.deepEqual(lengths, [3, ...many.slice(1)], "each letter is read once");
    else if (name === "tree") assert.deepEqual(lengths, many.map((n) => 4 * n));
    else assert.deepEqual(lengths, many.map((n, step) => n * Math.min(3 + step, name === "sliding" ? 6 : 99)));
  });
}

for (const { name, words, rows, ...one } of vectors.sentences) {
  test(`a sentence after each word: ${name}`, () => {
    const stage = stageOf(one);
    const known = new Map();
    near(afterEach(stage, words.slice(0, -1), known), rows.slice(0, -1));
    const both = name.endsWith("both ways");
    const lengths = asked(() => near(afterEach(stage, words, known), rows));
    assert.deepEqual(lengths, [words.length], "what was read before is not read again, or all is in one go");
    assert.equal(known.size, both ? words.length : 0);
    near(afterEach(stage, words), rows);
    near(logits(stage, indices(words)).data, rows.at(-1));
  });
}

for (const { text, words } of vectors.texts) test(`words of ${JSON.stringify(text)}`, () => assert.deepEqual(engine.tokenize(text), words));

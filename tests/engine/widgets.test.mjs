// What widgets compute or put in words, without a page: each beside `common`, or beside its definition.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load, near, stagesOf, vectors } from "./engine.mjs";

// ---- page.js

const page = load("page");

const TABLE = {
  percent: [
    [[1], "100%"], [[0.995], "100%"], [[0.5], "50%"], [[0.125], "13%"], [[0.0995], "10%"], [[0.09949], "9.9%"],
    [[0.0123], "1.2%"], [[0.001], "0.1%"], [[0.0005], "0.1%"], [[0.00049], "0%"], [[0], "0%"],
  ],
  count: [[[0], "0"], [[999], "999"], [[1000], "1,000"], [[1234567], "1,234,567"]],
  leftOut: [
    [[[], "ab"], ""],
    [[["1"], "ab"], "“1” is left out: “ab” is read."],
    [[["1", "1"], ""], "“1” is left out: nothing is read."],
    [[[" "], "ab"], "the space is left out: “ab” is read."],
    [[["1", " "], "ab"], "“1” and the space are left out: “ab” is read."],
    [[[..."12345"], "a"], "“1”, “2”, “3”, “4” and “5” are left out: “a” is read."],
    [[[..."123456"], "a"], "“1”, “2”, “3”, “4” and 2 more are left out: “a” is read."],
    [[[..."<b>&"], ""], "“<”, “b”, “>” and “&” are left out: nothing is read."],
  ],
  likeliest: [
    [[[0.1, 0.5, 0.4]], [1, 2, 0]], [[[0.2, 0.1, 0.3, 0.4]], [3, 2, 0]], [[[0.5, 0, 0.5]], [0, 2]],
    [[[0.1, 0.2, 0.7], 1], [2]], [[[0.25, 0.25, 0.25, 0.25], 2], [0, 1]],
  ],
  favourites: [
    [[".ab", [0.25, 0.7, 0.05]], "a 70%, the end 25%, b 5.0%"], [["abc", [0, 1, 0]], "b 100%"], [["ab", [0, 0]], ""],
  ],
};
for (const [name, rows] of Object.entries(TABLE))
  for (const [given, wanted] of rows) test(`${name} of ${JSON.stringify(given)}`, () => assert.deepEqual(page[name](...given), wanted));

test("a keeper sets a trait, then tells the kernel", () => {
  const said = [];
  page.keeper({ set: (name, value) => said.push([name, value]), save_changes: () => said.push("saved") })("level", 3);
  assert.deepEqual(said, [["level", 3], "saved"]);
});

test("who follows traits hears of them until it is ended", () => {
  const heard = new Map();
  const model = { on: (event, call) => heard.set(event, call), off: (event, call) => assert.equal(heard.get(event), call) || heard.delete(event) };
  const followers = { text: () => 1, level: () => 2 };
  const end = page.follow(model, followers);
  assert.deepEqual([...heard], [["change:text", followers.text], ["change:level", followers.level]]);
  end();
  assert.equal(heard.size, 0);
});

// ---- translate.js

const translator = load("page", "model", "translate");
const close = (found, wanted) => near(found, wanted, 5e-6);

for (const one of vectors.translation) {
  const parts = Object.fromEntries(stagesOf(one, translator.readStages).map(({ name, layers }) => [name, layers]));
  test(`a translator reads ${one.source} and is given ${one.tokens}`, () => {
    const read = translator.readSource(parts, one.source);
    assert.deepEqual([read.H, read.S], [4, one.source.length]);
    let { states } = read;
    const steps = one.tokens.map((token) => {
      const step = translator.nextStep(parts, read, token, states);
      states = step.states;
      return step;
    });
    close(steps.map(({ logits }) => logits), one.logits);
    close(steps.map(({ weights }) => weights), one.looked);
  });
  test(`a translator writes what follows ${one.source}`, () => {
    const steps = translator.translate(parts, one.source, 6);
    assert.deepEqual(steps.map(({ index }) => index), one.written);
    close(steps.map(({ share }) => share), one.sure);
    close(steps.map(({ weights }) => weights), one.writing);
    assert.equal(translator.translate(parts, one.source, 1).length, 1);
    assert.equal(translator.translate(parts, one.source, 0).length, 0);
  });
}

const [{ pieces, texts, numbers }] = vectors.pieces;
texts.forEach((text, i) => test(`sub-words of “${text}”`, () => {
  const found = translator.cut(text, new Map(pieces.map((piece, index) => [piece, index])));
  assert.deepEqual(found.map(({ index }) => index), numbers[i]);
  for (const { piece, index } of found) if (index !== 3) assert.equal(piece, pieces[index]);
  const joined = found.map(({ piece }) => piece).join("");
  assert.equal(joined.replaceAll("▁", " ").trim(), text.replaceAll("▁", " ").split(" ").filter(Boolean).join(" "));
}));

test("white space of every kind, and a ▁ that is typed, are one space (for the library the blank alone is)", () => {
  const known = new Map(pieces.map((piece, index) => [piece, index]));
  for (const text of ["the\that", "the\n\u00a0hat", "the▁hat", "▁the ▁ hat▁"])
    assert.deepEqual(translator.cut(text, known), translator.cut("the hat", known));
});

// ---- field.js

const field = load("page", "field");

for (const { paths, dilations, parameters, ...sizes } of vectors.paths) {
  test(`paths through ${JSON.stringify(sizes)}`, () => {
    assert.deepEqual(field.dilationsOf(sizes), dilations);
    assert.deepEqual(field.pathsOf({ ...sizes, dilations }), paths);
    assert.equal(field.parametersOf({ ...sizes, dilations, vocabulary: 27 }), parameters);
  });
}

// ---- valley.js

const { path } = load("page", "valley");

for (const { kind, lr, steep, unit, points } of vectors.descents) {
  test(`${kind} at ${lr} in a valley ${steep} times as steep across, gradients times ${unit}`, () => {
    const found = path(kind, lr, steep, unit, points.length - 1);
    assert.equal(found.length, points.length);
    near(found, points, 1e-7);
    assert.deepEqual(path(kind, lr, steep, unit, 0), [[-4, 1.2]]);
  });
}

// ---- wave.js

const wave = load("page", "model", "wave");

test("a network runs free on its own forecasts, a weighted sum on its own", () => {
  const [one] = vectors.forecasts;
  const [stage] = stagesOf(one, wave.readStages);
  near(wave.freeRun(stage, one.values, 5), one.free);
  assert.equal(wave.freeRun(stage, one.values, 1).length, 1);
  near(wave.weighedRun(one.linear, one.values, 5), one.run, 1e-7);
  const given = [1, 2, 3, 4];
  near(wave.weighedRun([1], given, 2), [4, 4], 0);
  assert.deepEqual(given, [1, 2, 3, 4]);
});

test("a value is kept between its bounds", () => {
  assert.deepEqual([-3, -1, 0.5, 2, 9].map((value) => wave.clamp(value, -1, 2)), [-1, -1, 0.5, 2, 2]);
});

const SINES = { sum: [0.5, 20, 33], sine: [0.8, 20], others: [0.5, 25, 28] };
for (const [name, [size, ...periods]] of Object.entries(SINES)) {
  test(`the preset ${name} has the periods of its title and no other`, () => {
    const [title, at] = wave.PRESETS[name];
    assert.deepEqual(title.match(/\d+/g).map(Number), periods);
    let values = Array.from({ length: 200 }, (_, t) => at(t));
    const most = Math.max(...values.map(Math.abs));
    assert.ok(most > 0.9 * size * periods.length && most <= size * periods.length + 1e-12, `reaches ${most}`);
    const [first, other] = periods.map((period) => (2 * Math.PI) / period); // what a step adds to each phase
    const begins = [0, 1].map((t) => size * (Math.sin(first * t) + (other ? Math.sin(other * t + 1) : 0)));
    near(values.slice(0, 2), begins, 1e-12);
    // y(t + 1) - 2 cos(2π / period) y(t) + y(t - 1) leaves nothing of a sine of that period
    for (const period of periods)
      values = values.slice(2).map((value, t) => value - 2 * Math.cos((2 * Math.PI) / period) * values[t + 1] + values[t]);
    assert.ok(Math.max(...values.map(Math.abs)) < 1e-12);
  });
}

test("the other presets: a square wave, a flat line, and the series that is given", () => {
  const of = (name, steps) => steps.map((t) => wave.PRESETS[name][1](t, [5, 6, 7]));
  assert.deepEqual(of("square", [0, 11, 12, 23, 24, 35, 36]), [0.7, 0.7, -0.7, -0.7, 0.7, 0.7, -0.7]);
  assert.deepEqual(of("flat", [0, 9]), [0.5, 0.5]);
  assert.deepEqual(of("chaos", [2, 0]), [7, 5]);
  assert.deepEqual(Object.values(wave.PRESETS).map(([title]) => title),
    ["sines of 20 and 33", "one sine of 20", "sines of 25 and 28", "a square wave", "a flat line", "chaos"]);
});

// ---- writer.js

const writer = load("page", "model", "writer");

for (const one of vectors.writing) {
  test(`a text is read on by ${one.name}: logits, states, bits`, () => {
    const [stage] = stagesOf(one, writer.readStages);
    const steps = [];
    for (const index of one.indices) steps.push(writer.step(stage, index, steps.at(-1)));
    assert.deepEqual(steps.map(({ index }) => index), one.indices);
    near(steps.map(({ row }) => row), one.rows);
    near(steps.map(({ state }) => state), one.states);
    assert.equal(steps[0].bits, undefined);
    near(steps.slice(1).map(({ bits }) => bits), one.bits, 5e-6);
    near(writer.step(stage, one.indices[2], steps[1]).row, one.rows[2]); // the step before is as it was
  });
}

test("what a character costs where logits are large", () => {
  near([writer.surprise([1000, 1000], 1)], [1], 1e-12);
  near([writer.surprise([1000, 0], 0)], [0], 1e-12);
});

test("a character is drawn with its share, and the last one left where rounding ate the rest", () => {
  const p = [0.25, 0, 0.5, 0.25, 0];
  assert.deepEqual([0, 0.2499, 0.25, 0.7499, 0.75, 0.9999, 1].map((left) => writer.drawn(p, () => left)), [0, 0, 2, 2, 3, 3, 3]);
});

// ---- listening.js

test("samples become the file that Python's module wave writes", async () => {
  const [{ samples, rate, file }] = vectors.sounds;
  const blob = load("page", "listening").wav(Uint8Array.from(samples), rate);
  assert.equal(blob.type, "audio/wav");
  assert.equal(Buffer.from(await blob.arrayBuffer()).toString("base64"), file);
});

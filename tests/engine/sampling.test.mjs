// From logits to names: softmax and its cuts, random numbers, rules, and what they let through.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load, near, stagesOf, vectors } from "./engine.mjs";

const engine = load("page", "model", "constraints", "playground");
const { softmax, random, sample, machineOf, clashOf } = engine;
const LETTERS = [".", "a", "b", "c", "d", "e"];
const KINDS = {
  pattern: (text) => engine.patternRule(text),
  alphabet: (letters) => engine.alphabetRule(letters),
  length: (shortest, longest) => engine.lengthRule(shortest, longest ?? Infinity),
  notIn: (names) => engine.notInRule(new Set(names)),
};
const rulesOf = (parts) => parts.map(([kind, ...given]) => KINDS[kind](...given));

for (const { row, temperature, top_k, top_p, allowed, p } of vectors.shares) {
  test(`probabilities of ${row} at ${JSON.stringify({ temperature, top_k, top_p, allowed })}`, () => {
    const open = allowed && new Map(allowed.map((i) => [i, null]));
    const found = softmax(Float64Array.from(row), temperature, top_k, top_p, open);
    near(found, p, 1e-8);
    assert.deepEqual([...found].map((share) => share === 0), p.map((share) => share === 0), "what is cut off is 0");
  });
}

test("softmax leaves its row as it is", () => {
  const row = Float32Array.of(1, 3, 2);
  softmax(row, 0.5, 2, 0.9, new Map([[0, 0], [1, 1]]));
  assert.deepEqual([...row], [1, 3, 2]);
});

for (const { seed, numbers } of vectors.drawn) {
  test(`random numbers of seed ${seed}`, () => {
    const draw = random(seed);
    assert.deepEqual(numbers.map(() => draw() * 2 ** 32), numbers);
  });
}

for (const { model, seed, temperature, top_k: topK, top_p: topP, start, max_length: maxLength, parts, names, prefix } of vectors.names) {
  test(`names by ${model}, ${JSON.stringify({ seed, temperature, topK, topP, maxLength, parts, prefix })}`, () => {
    const machine = parts && machineOf(rulesOf(parts), LETTERS, prefix ?? "", maxLength);
    const [stage] = stagesOf({ model }, engine.readStages);
    const given = [...start];
    assert.deepEqual(sample(stage, given, names.length, random(seed), { temperature, topK, topP, machine, maxLength }), names);
    assert.deepEqual(given, start);
  });
}

test("without settings a name has at most 40 letters", () => {
  const [stage] = stagesOf({ model: "state" }, engine.readStages);
  const found = sample(stage, [], 3, () => 1); // a draw beyond every share: the last letter, again and again
  assert.deepEqual(found.map((name) => [name.length, new Set(name)]), Array(3).fill([40, new Set([5])]));
});

test("a draw beyond the last share takes the last character that is left", () => {
  const [stage] = stagesOf({ model: "state" }, engine.readStages);
  const machine = machineOf([engine.alphabetRule("ab"), engine.lengthRule(2, 3)], LETTERS, "");
  assert.deepEqual(sample(stage, [], 1, () => 1, { machine }), [[2, 2, 2]]);
});

test("a draw of 0 takes the first character that is left, and none that is cut off", () => {
  const [stage] = stagesOf({ model: "state" }, engine.readStages);
  const machine = machineOf([engine.alphabetRule("bc"), engine.lengthRule(2, 3)], LETTERS, "");
  assert.deepEqual(sample(stage, [], 2, () => 0, { machine }), [[2, 2], [2, 2]]);
});

// ---- rules

const ABC = [".", "a", "b", "c"];

// Every name that a machine lets through, and the number of its states that were asked.
function everyName({ start, allowed }, letters, prefix) {
  const found = [];
  const waiting = [[prefix, start]];
  while (waiting.length) {
    const [name, state] = waiting.pop();
    for (const [index, after] of allowed(state)) {
      if (index) waiting.push([name + letters[index], after]);
      else {
        assert.equal(after, null);
        found.push(name);
      }
    }
  }
  return found.sort();
}

for (const { parts, prefix, longest, names, clash } of vectors.rules) {
  test(`rules ${JSON.stringify(parts)} after “${prefix}”, at most ${longest} letters`, () => {
    const rules = rulesOf(parts);
    const machine = machineOf(rules, ABC, prefix, longest);
    assert.equal(machine.possible, Boolean(names));
    if (names) {
      assert.deepEqual(everyName(machine, ABC, prefix), names);
      assert.deepEqual([...machine.allowed(machine.start).keys()], [...machine.allowed(machine.start).keys()].sort());
    } else assert.equal(clashOf(rules, ABC, prefix, longest), clash.map((i) => rules[i].says).join(" and "));
  });
}

test("without a length a machine stops at 40 letters", () => {
  const { start, allowed } = machineOf([engine.alphabetRule("a")], ABC, "");
  assert.deepEqual(everyName({ start, allowed }, ABC, ""), Array.from({ length: 41 }, (_, n) => "a".repeat(n)));
});

test("a machine asks each part about each state once, however many names pass it", () => {
  let asked = 0;
  const counting = { ...engine.alphabetRule("abc"), step: () => (asked++, 0) };
  const machine = machineOf([counting], ABC, "", 6);
  everyName(machine, ABC, "");
  assert.ok(asked <= 2 * 3 * 7, `asked ${asked} times about seven states`);
});

test("rules say what they want", () => {
  const says = (rule) => rule.says;
  assert.equal(says(engine.alphabetRule("abc")), "the alphabet “abc”");
  assert.equal(says(engine.patternRule("a?*")), "the pattern “a?*”");
  assert.equal(says(engine.notInRule(new Set())), "“only new names”");
  assert.equal(says(engine.lengthRule(2, 4)), "a length of 2 to 4");
  assert.equal(says(engine.lengthRule(2, 2)), "a length of 2 to 2");
  assert.equal(says(engine.lengthRule(3, Infinity)), "a length of at least 3");
  assert.equal(says(engine.lengthRule(5, 4)), "a length of at least 5 and at most 4");
});

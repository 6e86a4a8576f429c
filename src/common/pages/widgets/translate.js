// A translator: sub-words, the encoder, and the decoder step by step, as common.models.seq2seq computes them.

const [BEGIN, END, UNKNOWN] = [1, 2, 3];

// A text cut as the library sentencepiece cuts it by byte-pair encoding: letters, of which the pair that
// makes the earliest piece is joined, as long as there is one. Spaces are ▁; unknown letters in a row are one.
function cut(text, numbers) {
  const letters = [..."▁" + text.split(/[\s▁]+/).filter(Boolean).join("▁")];
  if (letters.length < 2) return [];
  for (;;) {
    let best = -1, earliest = Infinity;
    for (let i = 0; i + 1 < letters.length; i++) {
      const number = numbers.get(letters[i] + letters[i + 1]) ?? Infinity;
      if (number > UNKNOWN && number < earliest) [best, earliest] = [i, number];
    }
    if (best < 0) break;
    letters.splice(best, 2, letters[best] + letters[best + 1]);
  }
  const pieces = [];
  for (const piece of letters) {
    const index = (numbers.get(piece) ?? 0) > UNKNOWN ? numbers.get(piece) : UNKNOWN;
    if (index === UNKNOWN && pieces.at(-1)?.index === UNKNOWN) pieces.at(-1).piece += piece;
    else pieces.push({ piece, index });
  }
  return pieces;
}

const row = (data) => ({ data: Float32Array.from(data), shape: [1, 1, data.length] });
const last = (layers, value, memory) => through(layers, value, memory).at(-1).data;

// What is read once: the encoder's outputs and their keys, rows of H side by side, and the first states.
function readSource(parts, indices) {
  const memory = new Map();
  const outputs = last(parts.encoder, { data: Int32Array.from(indices), shape: [1, indices.length] }, memory);
  const ends = parts.encoder.at(-1).layers.flatMap((way) => [...memory.get(way)[0]]);
  const H = ends.length;
  const keys = last(parts.key, { data: outputs, shape: [1, indices.length, H] });
  const started = last(parts.start, row(ends));
  return { H, S: indices.length, outputs, keys, states: [started.slice(0, H), started.slice(H)] };
}

// A step: the logits of what follows a token, the next states, and the weight of each word that was read.
function nextStep(parts, { H, S, outputs, keys }, token, [asks, writes]) {
  const reader = new Map([[parts.reader.at(-1), [asks]]]);
  const query = last(parts.reader, { data: Int32Array.of(token), shape: [1, 1] }, reader);
  const scores = Array.from({ length: S }, (_, s) => query.reduce((sum, q, i) => sum + q * keys[s * H + i], 0) / Math.sqrt(H));
  const weights = softmax(scores);
  const context = new Float32Array(H);
  for (let s = 0; s < S; s++) for (let i = 0; i < H; i++) context[i] += weights[s] * outputs[s * H + i];
  const writer = new Map([[parts.writer[0], [writes]]]);
  const h = last(parts.writer, row([...query, ...context]), writer);
  const said = last(parts.output, row([...h, ...context]));
  const { weight, channels } = parts.reader[0];
  const logits = new Float32Array(weight.length / channels);
  for (let v = 0; v < logits.length; v++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += said[c] * weight[v * channels + c];
    logits[v] = sum;
  }
  return { logits, weights, states: [reader.get(parts.reader.at(-1))[0], writer.get(parts.writer[0])[0]] };
}

// The most probable token at each step, up to the end: [{ index, weights }], the end included.
function translate(parts, indices, longest) {
  const read = readSource(parts, indices);
  let [token, states] = [BEGIN, read.states];
  const steps = [];
  while (token !== END && steps.length < longest) {
    const step = nextStep(parts, read, token, states);
    token = END;
    step.logits.forEach((logit, v) => { if (v >= END && logit > step.logits[token]) token = v; });
    steps.push({ index: token, weights: step.weights, share: softmax(step.logits)[token] });
    states = step.states;
  }
  return steps;
}

// The book's models in the browser: the layers of common.nn in evaluation mode.
//
// A tensor is { data: Float32Array, shape }. A stage is what `common.pages.widgets.packed` makes of a
// Sequential: its layers in order, their numbers at offsets into one string of floats of 32 bits, or of
// 16 or 8 where that is said. A stage without a block size takes whole names, each with a dot in front.

const NUMBERS = ["weight", "bias", "before", "scale", "shift", "recurrent", "recurrentBias"];

function readStages(stages, bytes) {
  const all = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const numbers = ([start, length, bits, rows]) =>
    bits === 16 ? fromHalves(new Uint16Array(all, 2 * start, length)) :
    bits === 8 ? fromSteps(new Float32Array(all, 4 * start, rows), new Int8Array(all, 4 * (start + rows), length)) :
    new Float32Array(all, 4 * start, length);
  const read = (layer) => { // or a stage, which is layers too
    const whole = { ...layer };
    for (const name of NUMBERS) if (layer[name]) whole[name] = numbers(layer[name]);
    if (layer.layers) whole.layers = layer.layers.map(read);
    return whole;
  };
  return stages.map(read);
}

// Whole numbers of 8 bits, each times the step of its row.
const fromSteps = (steps, whole) =>
  Float32Array.from(whole, (n, i) => n * steps[Math.floor((i * steps.length) / whole.length)]);

// Floats of 16 bits, a sign, 5 bits of exponent and 10 of fraction, as floats of 32. (Not every browser
// has a Float16Array.)
function fromHalves(halves) {
  return Float32Array.from(halves, (bits) => {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    return bits >> 15 ? -size : size;
  });
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// The share of a normal distribution below x, to 1e-7
// (Abramowitz and Stegun, 1964, formula 7.1.26).
function below(x) {
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * z);
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-z * z);
  return x > 0 ? 1 - tail / 2 : tail / 2;
}

const LAYERS = {
  // indices, (B, T) -> (B, T, C)
  embedding({ weight, channels }, { data, shape }) {
    const out = new Float32Array(data.length * channels);
    data.forEach((index, i) => out.set(weight.subarray(index * channels, (index + 1) * channels), i * channels));
    return { data: out, shape: [...shape, channels] };
  },

  // (B, T, C) -> (B, T / n, C n), or (B, C n) where one group is left; no number moves
  flatten({ n }, { data, shape: [B, T, C] }) {
    const group = n || T;
    return { data, shape: T === group ? [B, C * group] : [B, T / group, C * group] };
  },

  // the last dimension: y = x W + b
  linear({ weight, bias, inputs, outputs }, { data, shape }) {
    const rows = data.length / inputs;
    const out = new Float32Array(rows * outputs);
    const sum = new Float64Array(outputs);
    for (let r = 0; r < rows; r++) {
      if (bias) sum.set(bias);
      else sum.fill(0);
      for (let i = 0; i < inputs; i++) {
        const x = data[r * inputs + i];
        const from = i * outputs;
        for (let j = 0; j < outputs; j++) sum[j] += x * weight[from + j];
      }
      out.set(sum, r * outputs);
    }
    return { data: out, shape: [...shape.slice(0, -1), outputs] };
  },

  // (B, T, in) -> (B, T, out): places `dilation` apart, joined, oldest first; `before` is in front of them all
  convolution({ weight, bias, before, taps, dilation, inputs, outputs }, { data, shape: [B, T] }) {
    const joined = new Float32Array(B * T * taps * inputs);
    for (let row = 0; row < B * T; row++) {
      for (let k = 0; k < taps; k++) {
        const back = (taps - 1 - k) * dilation;
        const seen = (row % T) < back ? before : data.subarray((row - back) * inputs, (row - back + 1) * inputs);
        joined.set(seen, (row * taps + k) * inputs);
      }
    }
    return LAYERS.linear({ weight, bias, inputs: taps * inputs, outputs }, { data: joined, shape: [B, T, taps * inputs] });
  },

  // BatchNorm in evaluation mode: a scale and a shift a channel, or (with the bug) a channel and position
  affine({ scale, shift }, { data, shape }) {
    return { data: data.map((x, i) => scale[i % scale.length] * x + shift[i % shift.length]), shape };
  },

  tanh(layer, { data, shape }) {
    return { data: data.map(Math.tanh), shape };
  },

  silu(layer, { data, shape }) {
    return { data: data.map((x) => x * sigmoid(x)), shape };
  },

  // x Φ(x): x times the share of a normal distribution that lies below it
  gelu(layer, { data, shape }) {
    return { data: data.map((x) => x * below(x)), shape };
  },

  // a vector a position, added: (B, T, C) -> (B, T, C)
  position({ weight }, { data, shape: [B, T, C] }) {
    return { data: data.map((x, i) => x + weight[i % (T * C)]), shape: [B, T, C] };
  },

  // every position's channels with mean 0 and variance 1, then a scale and a shift a channel
  layernorm({ weight, bias, eps }, { data, shape }) {
    const C = weight.length;
    const out = new Float32Array(data.length);
    for (let at = 0; at < data.length; at += C) {
      const row = data.subarray(at, at + C);
      const mean = row.reduce((sum, x) => sum + x, 0) / C;
      const scale = 1 / Math.sqrt(row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / C + eps);
      row.forEach((x, c) => (out[at + c] = weight[c] * (x - mean) * scale + bias[c]));
    }
    return { data: out, shape };
  },

  // queries, keys and values side by side, (B, T, 3 C) -> (B, T, C): each position reads itself and those
  // before it. How much of each, (B, heads, T, T), goes into the memory.
  attention(layer, { data, shape: [B, T, wide] }, memory) {
    const { heads } = layer;
    const C = wide / 3;
    const d = C / heads;
    const out = new Float32Array(B * T * C);
    const weights = new Float32Array(B * heads * T * T);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < heads; h++) {
        for (let t = 0; t < T; t++) {
          const from = (b * T + t) * wide + h * d;
          const scores = Float64Array.from({ length: t + 1 }, (_, s) => {
            const key = (b * T + s) * wide + C + h * d;
            let sum = 0;
            for (let c = 0; c < d; c++) sum += data[from + c] * data[key + c];
            return sum / Math.sqrt(d);
          });
          softmax(scores).forEach((share, s) => {
            weights[((b * heads + h) * T + t) * T + s] = share;
            for (let c = 0; c < d; c++) out[(b * T + t) * C + h * d + c] += share * data[(b * T + s) * wide + 2 * C + h * d + c];
          });
        }
      }
    }
    memory?.set(layer, weights);
    return { data: out, shape: [B, T, C] };
  },

  // y = x + f(x)
  residual({ layers }, value, memory) {
    const inside = through(layers, value, memory).at(-1).data;
    return { data: value.data.map((x, i) => x + inside[i]), shape: value.shape };
  },

  // residuals one after the other
  block({ layers }, value, memory) {
    return through(layers, value, memory).at(-1);
  },

  // One cell over a sequence, (B, T, in) -> (B, T, hidden), as torch.nn's
  rnn: overSteps,
  lstm: overSteps,
  gru: overSteps,

  // cells that read one sequence, their outputs side by side
  ways({ layers }, value, memory) {
    const parts = layers.map((layer) => LAYERS[layer.kind](layer, value, memory));
    const [B, T] = value.shape;
    const widths = parts.map(({ shape }) => shape.at(-1));
    const C = widths.reduce((a, b) => a + b);
    const out = new Float32Array(B * T * C);
    let from = 0;
    parts.forEach(({ data }, k) => {
      for (let row = 0; row < B * T; row++) out.set(data.subarray(row * widths[k], (row + 1) * widths[k]), row * C + from);
      from += widths[k];
    });
    return { data: out, shape: [B, T, C] };
  },

  // (B, T, C) -> (B, C): the mean or the largest over all steps; or the last step, which for the channels
  // from `forwards` on, those of a cell that reads from the end, is the first
  pool({ how, forwards }, { data, shape: [B, T, C] }) {
    const out = new Float32Array(B * C);
    for (let b = 0; b < B; b++) {
      for (let c = 0; c < C; c++) {
        const at = (t) => data[(b * T + t) * C + c];
        let found = at(how === "last" && c < forwards ? T - 1 : 0);
        for (let t = 1; t < T && how !== "last"; t++) found = how === "max" ? Math.max(found, at(t)) : found + at(t);
        out[b * C + c] = how === "mean" ? found / T : found;
      }
    }
    return { data: out, shape: [B, C] };
  },
};

// A cell's step for one channel: `given` at `at` is what the input gives its gates, `own` at `from` what its
// last state gives them, H apart in the order of torch. `state` holds h, for the LSTM c too, and `next` is to.
const STEPS = {
  rnn(given, at, own, from, H, [h], [next], i) {
    next[i] = Math.tanh(given[at] + own[from]);
  },
  lstm(given, at, own, from, H, [h, c], [next, nextC], i) {
    const gate = (k) => given[at + k * H] + own[from + k * H];
    nextC[i] = sigmoid(gate(1)) * c[i] + sigmoid(gate(0)) * Math.tanh(gate(2));
    next[i] = sigmoid(gate(3)) * Math.tanh(nextC[i]);
  },
  gru(given, at, own, from, H, [h], [next], i) {
    const { update, fresh } = gates(given, at, own, from, H);
    next[i] = (1 - update) * fresh + update * h[i];
  },
};
const recurs = ({ kind }) => kind in STEPS;

// `memory` holds by layer its last state, a list of (B, hidden): a layer goes on from there, and leaves its
// own. Without one it begins at zero.
function overSteps(layer, value, memory) {
  const { kind, hidden: H, outputs, backward } = layer;
  const [B, T] = value.shape;
  const given = LAYERS.linear(layer, value).data;
  const out = new Float32Array(B * T * H);
  const zeros = () => new Float32Array(B * H);
  let state = memory?.get(layer) ?? (kind === "lstm" ? [zeros(), zeros()] : [zeros()]);
  for (let step = 0; step < T; step++) {
    const t = backward ? T - 1 - step : step;
    const own = LAYERS.linear(recurrence(layer), { data: state[0], shape: [B, H] }).data;
    const next = state.map(zeros);
    for (let b = 0; b < B; b++) {
      for (let j = 0; j < H; j++) STEPS[kind](given, (b * T + t) * outputs + j, own, b * outputs + j, H, state, next, b * H + j);
      out.set(next[0].subarray(b * H, (b + 1) * H), (b * T + t) * H);
    }
    state = next;
  }
  memory?.set(layer, state);
  return { data: out, shape: [B, T, H] };
}

// The map that a cell applies to its last state; and a GRU's gates for one channel.
const recurrence = ({ recurrent, recurrentBias, hidden, outputs }) =>
  ({ weight: recurrent, bias: recurrentBias, inputs: hidden, outputs });
function gates(given, at, own, from, H) {
  const reset = sigmoid(given[at] + own[from]);
  const update = sigmoid(given[at + H] + own[from + H]);
  return { reset, update, fresh: Math.tanh(given[at + 2 * H] + reset * own[from + 2 * H]) };
}

// What goes in and what leaves every layer, in order.
function through(layers, value, memory) {
  const values = [value];
  for (const layer of layers) values.push(LAYERS[layer.kind](layer, values.at(-1), memory));
  return values;
}

// [contexts, ..., logits] of contexts (B, T) in one flat list: (B, V), or (B, T, V) of whole names. Where a
// stage takes whole names, the list is one of them unless T is given.
const forward = (stage, contexts, T = stage.blockSize || contexts.length, memory = undefined) =>
  through(stage.layers, { data: contexts, shape: [contexts.length / T, T] }, memory);

const logits = (stage, contexts, T) => forward(stage, contexts, T).at(-1);

// All layers, those inside others too.
const everyLayer = (layers) => layers.flatMap((layer) => [layer, ...everyLayer(layer.layers ?? [])]);

// How many characters a prediction of a stage can depend on.
function reach(stage) {
  if (stage.blockSize) return stage.blockSize;
  const layers = everyLayer(stage.layers);
  if (layers.some((layer) => recurs(layer) || layer.kind === "attention")) return Infinity;
  return layers.reduce((sum, { kind, taps, dilation }) => (kind === "convolution" ? sum + (taps - 1) * dilation : sum), 1);
}

// From the gradient at what leaves a layer to that at what goes in, for one context: every kind that
// follows the embedding in a model of names.
const BACKWARD = {
  flatten: (layer, gradient) => gradient,

  linear({ weight, inputs, outputs }, gradient) {
    const rows = gradient.length / outputs;
    const out = new Float64Array(rows * inputs);
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < inputs; i++) {
        let sum = 0;
        for (let j = 0; j < outputs; j++) sum += gradient[r * outputs + j] * weight[i * outputs + j];
        out[r * inputs + i] = sum;
      }
    return out;
  },

  convolution({ weight, taps, dilation, inputs, outputs }, gradient) {
    const joined = BACKWARD.linear({ weight, inputs: taps * inputs, outputs }, gradient);
    const out = new Float64Array((gradient.length / outputs) * inputs);
    for (let row = 0; row < gradient.length / outputs; row++) {
      for (let k = 0; k < taps; k++) {
        const back = (taps - 1 - k) * dilation;
        if (row < back) continue; // that was `before`
        for (let i = 0; i < inputs; i++) out[(row - back) * inputs + i] += joined[(row * taps + k) * inputs + i];
      }
    }
    return out;
  },

  affine: ({ scale }, gradient) => gradient.map((g, i) => g * scale[i % scale.length]),

  tanh: (layer, gradient, input, output) => gradient.map((g, i) => g * (1 - output.data[i] ** 2)),

  silu: (layer, gradient, { data }) => gradient.map((g, i) => {
    const s = sigmoid(data[i]);
    return g * s * (1 + data[i] * (1 - s));
  }),

  residual({ layers }, gradient, input) {
    const inside = backThrough(layers, through(layers, input), gradient);
    return gradient.map((g, i) => g + inside[i]);
  },

  gru(layer, gradient, input, output) {
    const { hidden: H } = layer;
    const given = LAYERS.linear(layer, input).data;
    const atGiven = new Float64Array(given.length);
    let later = new Float64Array(H); // what the places after this one ask of its state
    for (let t = output.shape[1] - 1; t >= 0; t--) {
      const state = t ? output.data.subarray((t - 1) * H, t * H) : new Float32Array(H);
      const own = LAYERS.linear(recurrence(layer), { data: state, shape: [1, H] }).data;
      const atOwn = new Float64Array(3 * H);
      const kept = new Float64Array(H);
      for (let j = 0; j < H; j++) {
        const { reset, update, fresh } = gates(given, t * 3 * H + j, own, j, H);
        const g = gradient[t * H + j] + later[j];
        const atFresh = g * (1 - update) * (1 - fresh ** 2);
        const at = [atFresh * own[2 * H + j] * reset * (1 - reset), g * (state[j] - fresh) * update * (1 - update), atFresh];
        at.forEach((one, k) => {
          atGiven[(3 * t + k) * H + j] = one;
          atOwn[k * H + j] = k < 2 ? one : one * reset;
        });
        kept[j] = g * update;
      }
      later = BACKWARD.linear(recurrence(layer), atOwn).map((g, j) => g + kept[j]);
    }
    return BACKWARD.linear(layer, atGiven);
  },
};

// `values` as from `through`, `gradient` at the last of them: the gradient at the first.
function backThrough(layers, values, gradient) {
  for (let l = layers.length - 1; l >= 0; l--) {
    gradient = BACKWARD[layers[l].kind](layers[l], gradient, values[l], values[l + 1]);
  }
  return gradient;
}

// How strongly each of the T characters moves log p(chosen) of what follows the last of them: the norm of
// the gradient at its vector. `values` are those of one context, from `forward`.
function influence(stage, values, chosen) {
  const { data, shape } = values.at(-1);
  const last = data.length - shape.at(-1);
  const gradient = new Float64Array(data.length);
  softmax(data.subarray(last)).forEach((share, i) => (gradient[last + i] = (i === chosen) - share));
  const atVectors = backThrough(stage.layers.slice(1), values.slice(1), gradient);
  const T = values[0].shape[1];
  const C = atVectors.length / T;
  return Array.from({ length: T }, (_, t) => Math.hypot(...atVectors.subarray(t * C, (t + 1) * C)));
}

// Probabilities of one row of logits, as common.sampling.probabilities: what `allowed` lacks is masked (a Map
// by index), then all but the topK best are left out, then all but the fewest that together have topP.
function softmax(row, temperature = 1, topK = row.length, topP = 1, allowed = undefined) {
  const open = allowed ? Float64Array.from(row, (x, i) => (allowed.has(i) ? x : -Infinity)) : row;
  const best = Math.max(...open);
  const bar = [...open].sort((a, b) => b - a)[topK - 1];
  const weights = Float64Array.from(open, (x) => (x < bar ? 0 : Math.exp((x - best) / temperature)));
  const normalised = (values) => {
    const sum = values.reduce((a, b) => a + b);
    return values.map((w) => w / sum);
  };
  const p = normalised(weights);
  if (topP >= 1) return p;
  let before = 0; // what the likelier ones have together
  for (const i of [...p.keys()].sort((a, b) => p[b] - p[a])) {
    const share = p[i];
    if (before >= topP) p[i] = 0;
    before += share;
  }
  return normalised(p);
}

// The last T characters of a text as indices, dots in front.
function contextOf(indices, T) {
  const context = new Int32Array(T);
  const recent = indices.slice(-T);
  context.set(recent, T - recent.length);
  return context;
}

// What a stage is asked with for a name so far: its window, or the name itself with its dot in front, of
// which as much as the prediction can depend on.
const contextFor = (stage, indices) =>
  stage.blockSize ? contextOf(indices, stage.blockSize) : Int32Array.from([0, ...indices].slice(-reach(stage)));

// Logits of what follows each of several names of one length, for names that grow: a call has some of the
// last call's, each longer by a character. Where only a state goes from place to place it is kept, and
// the new character alone is read; the first call's names are all the same.
function reader(stage) {
  const layers = everyLayer(stage.layers);
  const carries = layers.some(recurs) && !layers.some(({ kind }) => kind === "convolution");
  let rows; // a name -> its row in the memory
  let memory = new Map();
  return (names) => {
    let contexts = names.map((name) => contextFor(stage, name));
    if (carries && !rows) contexts = contexts.slice(0, 1);
    if (carries && rows) {
      contexts = names.map((name) => [name.at(-1)]);
      const kept = (H, part) => {
        const own = new Float32Array(names.length * H);
        names.forEach((name, i) => own.set(part.subarray(rows.get(name) * H, (rows.get(name) + 1) * H), i * H));
        return own;
      };
      memory = new Map([...memory].map(([layer, state]) => [layer, state.map((part) => kept(layer.hidden, part))]));
    }
    rows = new Map(names.map((name, i) => [name, Math.min(i, contexts.length - 1)]));
    const T = contexts[0].length;
    const { data, shape } = forward(stage, Int32Array.from(contexts.flatMap((context) => [...context])), T, carries ? memory : undefined).at(-1);
    const V = shape.at(-1);
    const apart = data.length / contexts.length; // a row of logits, or one a place, of which the last counts
    return names.map((name) => data.subarray((rows.get(name) + 1) * apart - V, (rows.get(name) + 1) * apart));
  };
}

// Logits after each word of one sentence, had it ended there. Where every cell reads forwards its outputs so
// far stay as they are, and only what pools them is computed again; where one reads backwards each beginning
// is read anew, and kept in `known`.
function afterEach(stage, words, known = new Map()) {
  const layers = stage.layers;
  const ends = Array.from(words, (_, i) => i + 1);
  if (everyLayer(layers).some(({ backward }) => backward)) {
    return ends.map((end) => {
      const key = words.slice(0, end).join();
      if (!known.has(key)) known.set(key, logits(stage, Int32Array.from(words.slice(0, end))).data);
      return known.get(key);
    });
  }
  const pooled = layers.findIndex(({ kind }) => kind === "pool");
  const { data, shape } = forward({ layers: layers.slice(0, pooled) }, Int32Array.from(words)).at(-1);
  const C = shape.at(-1);
  return ends.map((end) => through(layers.slice(pooled), { data: data.subarray(0, end * C), shape: [1, end, C] }).at(-1).data);
}

// A text as common.data.reviews.tokenize cuts it. What counts as a letter and as a space is Python's.
const SPACES = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const TOKEN = new RegExp(`[\\p{L}\\p{N}_]+(?:['’][\\p{L}\\p{N}_]+)*|[^\\p{L}\\p{N}_${SPACES}]`, "gu");
const tokenize = (text) => text.toLowerCase().match(TOKEN) ?? [];

// A small generator of random numbers in [0, 1) that a seed repeats (mulberry32).
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// As common.sampling.sample: names as lists of indices, drawn one character at a time, cut at maxLength.
// `machine`, from machineOf, masks what its constraint forbids.
function sample(stage, start, howMany, draw, { temperature = 1, topK, topP, machine, maxLength = 40 } = {}) {
  const names = Array.from({ length: howMany }, () => [...start]);
  const states = new Map(machine ? names.map((name) => [name, machine.start]) : []);
  const read = reader(stage);
  let open = names;
  for (let length = start.length; length < maxLength + Boolean(machine) && open.length; length++) {
    const rows = read(open);
    open = open.filter((name, i) => {
      const allowed = machine?.allowed(states.get(name));
      const p = softmax(rows[i], temperature, topK, topP, allowed);
      let left = draw();
      let drawn = p.findIndex((share) => (left -= share) < 0);
      if (drawn < 0) drawn = p.findLastIndex((share) => share > 0); // rounding ate the last bit
      if (drawn) name.push(drawn);
      if (machine) states.set(name, allowed.get(drawn));
      return drawn > 0;
    });
  }
  return names;
}

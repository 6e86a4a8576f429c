// The book's models in the browser: the layers of common.layers in evaluation mode.
//
// A tensor is { data: Float32Array, shape }. A stage is what `common.widgets.packed` makes of a
// Sequential: its layers in order, their numbers at offsets into one array of 32-bit floats.

function readStages(stages, bytes) {
  const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const read = ([start, length]) => numbers.subarray(start, start + length);
  return stages.map((stage) => ({
    ...stage,
    layers: stage.layers.map((layer) => {
      const whole = { ...layer };
      for (const name of ["weight", "bias", "before", "scale", "shift"]) if (layer[name]) whole[name] = read(layer[name]);
      return whole;
    }),
  }));
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
};

// What goes in and what leaves every layer, in order: [contexts, ..., logits].
function forward(stage, contexts, upto = stage.layers.length) {
  const T = stage.blockSize;
  const values = [{ data: contexts, shape: [contexts.length / T, T] }];
  for (const layer of stage.layers.slice(0, upto)) values.push(LAYERS[layer.kind](layer, values.at(-1)));
  return values;
}

const logits = (stage, contexts) => forward(stage, contexts).at(-1);

// From a gradient at the logits to the gradient at the embeddings: every layer backwards.
const BACKWARD = {
  flatten: (layer, gradient) => gradient,

  linear({ weight, inputs, outputs }, gradient) {
    const rows = gradient.length / outputs;
    const out = new Float64Array(rows * inputs);
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < inputs; i++)
        for (let j = 0; j < outputs; j++) out[r * inputs + i] += gradient[r * outputs + j] * weight[i * outputs + j];
    return out;
  },

  affine: ({ scale }, gradient) => gradient.map((g, i) => g * scale[i % scale.length]),

  tanh: (layer, gradient, output) => gradient.map((g, i) => g * (1 - output.data[i] ** 2)),
};

// How strongly each of the T characters moves log p(chosen): the norm of the gradient at its vector.
function influence(stage, values, chosen) {
  const p = softmax(values.at(-1).data);
  let gradient = Float64Array.from(p, (share, i) => (i === chosen) - share);
  for (let l = stage.layers.length - 1; l > 0; l--) {
    const layer = stage.layers[l];
    gradient = BACKWARD[layer.kind](layer, gradient, values[l + 1]);
  }
  const C = gradient.length / stage.blockSize;
  return Array.from({ length: stage.blockSize }, (_, t) => Math.hypot(...gradient.subarray(t * C, (t + 1) * C)));
}

// Probabilities of one row of logits, as common.sample.reshaped: what `allowed` lacks is masked (a Map
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

// A small generator of random numbers in [0, 1) that a seed repeats (mulberry32).
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// As common.sample.sample: names as lists of indices, drawn one character at a time, cut at maxLength.
// `machine`, from machineOf, masks what its constraint forbids.
function sample(stage, start, howMany, draw, { temperature = 1, topK, topP, machine, maxLength = 40 } = {}) {
  const names = Array.from({ length: howMany }, () => [...start]);
  const states = new Map(machine ? names.map((name) => [name, machine.start]) : []);
  let open = names;
  for (let length = start.length; length < maxLength + Boolean(machine) && open.length; length++) {
    const contexts = new Int32Array(open.length * stage.blockSize);
    open.forEach((name, i) => contexts.set(contextOf(name, stage.blockSize), i * stage.blockSize));
    const { data, shape } = logits(stage, contexts);
    const V = shape.at(-1);
    open = open.filter((name, i) => {
      const allowed = machine?.allowed(states.get(name));
      const p = softmax(data.subarray(i * V, (i + 1) * V), temperature, topK, topP, allowed);
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

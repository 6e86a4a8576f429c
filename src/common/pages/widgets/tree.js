// The tree at work: characters fuse pair by pair, activations as colours, influence as bars.

function render({ model, el }) {
  const stages = readStages(model.get("stages"), model.get("weights"));
  const characters = model.get("characters");
  const { root: heard, say } = voice();
  const levels = stages[0].layers.filter((layer) => layer.kind === "flatten").length;
  let stage = stages[0];
  let picked = -1; // the character whose probability is asked about; -1: the likeliest
  let width = 0;
  let values, groups;

  const keep = keeper(model);
  const line = textField("A name so far", model.get("text"), (typed) => keep("text", typed));
  const text = line.input;
  const problem = node("p", { class: "wn-problem", role: "alert" });
  const level = slider("Level",
    { min: 0, max: levels + 1, value: model.get("level"), show: (l) => (l > levels ? "prediction" : `${l}`) },
    (l) => keep("level", l));
  const play = node("button", { type: "button", onclick: playThrough }, "Play");
  const which = choice("Model", stages.map(({ name, title }) => [name, title]), stage.name, (name) => {
    stage = stages.find((each) => each.name === name);
    resettle();
    update();
  });
  const explanation = node("p", { class: "wn-note wn-explanation" });
  const bars = characterBars(characters, "next character; press one to ask what it depends on", (i) => {
    picked = i;
    update();
  });
  const top = node("div", { class: "wn-top" }, node("p", { class: "wn-caption" }, "next character"), bars.root);
  const drawing = node("div", { class: "wn-drawing" });
  const influenceNote = node("p", { class: "wn-note" });

  // Where each level's values stand in the list that `forward` returns: after the embedding, after each tanh.
  const stops = () => [1, ...stage.layers.flatMap((layer, i) => (layer.kind === "tanh" ? [i + 1] : []))];
  const shape = (each) => `(${each.shape.join(", ")})`;

  function update() {
    const written = [...text.value.normalize("NFC").toLowerCase()];
    const strange = written.find((c) => characters.indexOf(c) < 1);
    const complaint = strange === undefined ? "" : `“${strange}” is left out: the model knows ${characters[1]} to ${characters.at(-1)}.`;
    if (problem.textContent !== complaint) problem.textContent = complaint;
    const typed = written.map((c) => characters.indexOf(c)).filter((i) => i > 0);
    const context = contextOf(typed, stage.blockSize);
    values = forward(stage, context);
    const p = softmax(values.at(-1).data);
    const likeliest = p.indexOf(Math.max(...p));
    const asked = picked < 0 ? likeliest : picked;
    const norms = influence(stage, values, asked);
    const sum = norms.reduce((a, b) => a + b);
    groups = { letters: [...context].map((i) => characters[i]), shares: norms.map((norm) => norm / sum) };
    bars.show(p, { chosen: asked });
    const here = model.get("level");
    top.classList.toggle("wn-off", here <= levels);
    influenceNote.classList.toggle("wn-off", here <= levels);
    const most = groups.shares.indexOf(Math.max(...groups.shares));
    const name = characters[asked] === "." ? "the end of the name" : `“${characters[asked]}”`;
    influenceNote.textContent = `What ${name} (${percent(p[asked])}) depends on: the bars below the letters show each letter's share in what moves the logarithm of its probability. The longest belongs to “${groups.letters[most]}”, place ${most + 1}.`;
    describe(here, p);
    draw();
  }

  function describe(here, p) {
    const at = stops();
    const fused = values[at[Math.max(here - 1, 0)] + 1];
    explanation.textContent =
      here === 0 ? `Embedding: each of the ${stage.blockSize} characters becomes ${values[1].shape.at(-1)} numbers, ${shape(values[0])} → ${shape(values[1])}.`
      : here <= levels ? `Level ${here}: FlattenConsecutive(2) ${shape(values[at[here - 1]])} → ${shape(fused)}; Linear, BatchNorm, Tanh → ${shape(values[at[here]])}.`
      : `The last Linear: ${shape(values.at(-2))} → ${shape(values.at(-1))}, softmaxed: ${favourites(characters, p)}.`;
    say(explanation.textContent);
  }

  // One node: its channels as small squares, orange above zero, blue below, strong where far from it.
  function cells(x, y, wide, numbers, columns, scale) {
    const side = wide / columns;
    return numbers.map((value, c) => svg("rect", {
      x: x + (c % columns) * side, y: y + Math.floor(c / columns) * side, width: side, height: side,
      class: value > 0 ? "wn-above" : "wn-below", "fill-opacity": Math.min(1, Math.abs(value) / scale).toFixed(2),
    }));
  }

  function draw() {
    if (!width) return;
    const here = model.get("level");
    const T = stage.blockSize;
    const gap = width < 480 ? 3 : 8;
    const at = stops();
    const largest = Math.min(width / 4 - gap, 150);
    const parts = [];
    let y = 2;
    let above = null; // the row drawn last: the level above
    for (let l = levels; l >= 0; l--) {
      const { data, shape: dims } = values[at[l]];
      const channels = dims.at(-1);
      const many = data.length / channels;
      const wide = Math.min(largest, width / many - gap);
      const columns = channels % 17 === 0 ? 17 : channels >= 64 ? 16 : channels >= 24 ? 8 : 5;
      const tall = (wide / columns) * Math.ceil(channels / columns);
      const scale = l ? 1 : 2.5;
      const title = `${l ? `level ${l}` : "embedding"}: ${shape(values[at[l]])}`;
      // edges pass below the title, not through it
      parts.push(svg("text", { x: 0, y: y + 11, class: "wn-small wn-halo" }, title));
      y += 20;
      const row = [];
      for (let i = 0; i < many; i++) {
        const centre = ((i + 0.5) * width) / many;
        const numbers = Array.from(data.subarray(i * channels, (i + 1) * channels));
        const seen = groups.letters.slice((i * T) / many, ((i + 1) * T) / many).join("");
        const label = l ? `level ${l}, node ${i + 1} of ${many}: sees ${seen}` : `vector of ${seen}, place ${i + 1}`;
        row.push(centre);
        parts.push(svg("g", { class: `wn-node${l > here ? " wn-off" : ""}`, role: "img", "aria-label": label },
          svg("title", {}, label),
          ...cells(centre - wide / 2, y, wide, numbers, columns, scale),
          svg("rect", { x: centre - wide / 2, y, width: wide, height: tall, class: "wn-frame" })));
        if (above) parts.unshift(svg("line", { x1: centre, y1: y, x2: above.row[i >> 1], y2: above.y, class: `wn-edge${l + 1 > here ? " wn-off" : ""}` }));
      }
      above = { row, y: y + tall };
      y += tall + (width < 480 ? 16 : 26);
    }
    y -= width < 480 ? 8 : 14;
    const tallest = 60; // 100%
    groups.letters.forEach((letter, t) => {
      const centre = ((t + 0.5) * width) / T;
      parts.push(svg("text", { x: centre, y: y + 16, class: "wn-leaf" }, letter));
      if (here > levels) {
        const tall = tallest * groups.shares[t];
        parts.push(svg("rect", { x: centre - 9, y: y + 26, width: 18, height: Math.max(tall, 0.5), class: "wn-influence" }));
        parts.push(svg("text", { x: centre, y: y + 26 + tall + 13, class: "wn-small wn-middle" }, percent(groups.shares[t])));
      }
    });
    y += 26 + tallest + 18;
    drawing.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${y}`, width, height: y, role: "group", "aria-label": `the tree for ${groups.letters.join("")}` }, ...parts));
  }

  let playing;
  function playThrough() {
    clearInterval(playing);
    keep("level", 0);
    playing = setInterval(() => {
      if (model.get("level") > levels) clearInterval(playing);
      else keep("level", model.get("level") + 1);
    }, 1100);
  }

  const unfollow = follow(model, {
    text: () => {
      if (text.value !== model.get("text")) text.value = model.get("text");
      picked = -1;
      update();
    },
    level: () => (level.place(model.get("level")), update()),
  });

  const { root, resettle } = frame("tree", {
    title: "A tree reads the last letters of a name, pair by pair",
    attempt: model.get("level") > levels
      ? "press another letter's bar at the top. The green bars below the name then say which letters it depends on."
      : "press Play, and watch pairs become fours, and fours the whole. Then change the last letter: only nodes above it change.",
    legend: [["square", "red", "a number above zero"], ["square", "blue", "below zero; the paler, the closer to zero"],
      ["square", "green", "a letter's share in the prediction; a full bar is 100%"]],
    answer: [explanation, top, drawing, problem],
    controls: [node("div", { class: "wn-buttons" }, play), level.root, line.root, stages.length > 1 && which.root],
    more: [influenceNote, heard],
  });
  // For the console and the tests: influence of every character on log p(chosen), and the logits.
  root.wavenet = {
    influence: (name, context, chosen) => {
      const asked = stages.find((each) => each.name === name);
      return influence(asked, forward(asked, Int32Array.from(context)), chosen);
    },
  };
  el.append(root);
  update();
  const stopWatching = onWidth(drawing, (now) => ((width = now), draw()));
  return () => {
    stopWatching();
    clearInterval(playing);
    unfollow();
  };
}

export default { render };

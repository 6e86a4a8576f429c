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
  let reference; // { letters, values } of the name before this edit: nodes that differ get a frame
  let typing = false; // in the field an edit lasts until it is left

  const keep = keeper(model);
  const line = textField("A name so far", model.get("text"), (typed) => keep("text", typed));
  const text = line.input;
  text.addEventListener("focus", () => (typing = (remember(), true)));
  text.addEventListener("blur", () => (typing = false));
  const leaves = node("div", { class: "wn-leaves", role: "group", "aria-label": "the letters; type another into its place" });
  const problem = node("p", { class: "wn-problem", role: "alert" });
  const level = slider("Level",
    { min: 0, max: levels + 1, value: model.get("level"), show: (l) => (l > levels ? "prediction" : `${l}`) },
    (l) => keep("level", l));
  const play = node("button", { type: "button", onclick: playThrough }, "Play");
  const which = choice("Model", stages.map(({ name, title }) => [name, title]), stage.name, (name) => {
    stage = stages.find((each) => each.name === name);
    reference = undefined;
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
  const bottom = node("div", { class: "wn-drawing" });
  const changes = node("p", { class: "wn-note wn-changes" });
  const influenceNote = node("p", { class: "wn-note" });

  // Where each level's values stand in the list that `forward` returns: after the embedding, after each tanh.
  const stops = () => [1, ...stage.layers.flatMap((layer, i) => (layer.kind === "tanh" ? [i + 1] : []))];
  const shape = (each) => `(${each.shape.join(", ")})`;

  const knows = (c) => c !== undefined && characters.indexOf(c) > 0;
  const written = () => [...text.value.normalize("NFC").toLowerCase()];
  const remember = () => (reference = { letters: groups.letters, values });

  function complain(strange, read) {
    const complaint = strange.length ? `${leftOut(strange, read)} The model knows ${characters[1]} to ${characters.at(-1)}.` : "";
    if (problem.textContent !== complaint) problem.textContent = complaint;
  }

  // A field a letter that the tree sees, to type another in its place: the others stay where they are.
  // One stop for the Tab key, arrow keys move along.
  function leafAt(place) {
    const input = node("input", {
      type: "text", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
      onfocus: () => input.select(), onpointerup: () => input.select(),
      oninput: () => {
        const letters = written().filter(knows);
        const typed = [...input.value.normalize("NFC").toLowerCase()].filter((c) => c !== groups.letters[place]).at(-1);
        input.value = groups.letters[place];
        if (knows(typed)) {
          letters[letters.length - stage.blockSize + place] = typed;
          keep("text", letters.join(""));
        } else if (typed !== undefined) complain([typed], letters.join(""));
        input.select();
      },
      onkeydown: (event) => {
        const last = stage.blockSize - 1;
        const there = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: last }[event.key];
        if (there === undefined) return;
        event.preventDefault();
        const next = leaves.children[Math.min(Math.max(there, 0), last)];
        for (const one of leaves.children) one.tabIndex = one === next ? 0 : -1;
        next.focus();
      },
    });
    return input;
  }

  function showLeaves() {
    const T = stage.blockSize;
    if (leaves.children.length !== T) {
      leaves.replaceChildren(...Array.from({ length: T }, (_, place) => leafAt(place)));
      leaves.style.setProperty("--wn-columns", T);
      for (const one of leaves.children) one.tabIndex = one === leaves.lastChild ? 0 : -1;
    }
    const first = T - written().filter(knows).length; // dots stand before it
    groups.letters.forEach((letter, place) => {
      const input = leaves.children[place];
      if (input.value !== letter) input.value = letter;
      input.readOnly = place < first;
      input.setAttribute("aria-label", `place ${place + 1}: ${place < first ? "before the name" : letter}`);
    });
  }

  // The places at which a level's nodes differ from those before the edit.
  function differing(level) {
    const now = values[stops()[level]], was = reference?.values[stops()[level]];
    if (!was || was.data.length !== now.data.length) return [];
    const channels = now.shape.at(-1), many = now.data.length / channels;
    return [...Array(many).keys()].filter((i) => now.data.subarray(i * channels, (i + 1) * channels).some((x, c) => x !== was.data[i * channels + c]));
  }

  function tellChanges() {
    const before = reference?.letters.join("");
    if (!before || before === groups.letters.join("")) {
      changes.textContent = "Press a letter under the tree and type another: nodes that change get a frame.";
      return;
    }
    const told = Array.from({ length: levels + 1 }, (_, level) => {
      const many = values[stops()[level]].data.length / values[stops()[level]].shape.at(-1);
      return `${differing(level).length} of ${many}${level ? "" : " letters"}`;
    });
    changes.textContent = `Changed, framed, since “${before}”: ${told.join(", ")}.`;
  }

  function update() {
    const typed = written().filter(knows).map((c) => characters.indexOf(c));
    complain(written().filter((c) => !knows(c)), typed.map((i) => characters[i]).join(""));
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
    influenceNote.textContent = `What ${name} (${percent(p[asked])}) depends on: the green bars below the letters show each letter's share in what moves the logarithm of its probability. The longest belongs to “${groups.letters[most]}”, place ${most + 1}.`;
    showLeaves();
    tellChanges();
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
    say(`${explanation.textContent}${reference ? ` ${changes.textContent}` : ""}`);
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
      const row = [], changed = differing(l);
      for (let i = 0; i < many; i++) {
        const centre = ((i + 0.5) * width) / many;
        const numbers = Array.from(data.subarray(i * channels, (i + 1) * channels));
        const seen = groups.letters.slice((i * T) / many, ((i + 1) * T) / many).join("");
        const label = l ? `level ${l}, node ${i + 1} of ${many}: sees ${seen}` : `vector of ${seen}, place ${i + 1}`;
        row.push(centre);
        parts.push(svg("g", { class: `wn-node${l > here ? " wn-off" : ""}${changed.includes(i) ? " wn-changed" : ""}`, role: "img", "aria-label": label },
          svg("title", {}, label),
          ...cells(centre - wide / 2, y, wide, numbers, columns, scale),
          svg("rect", { x: centre - wide / 2, y, width: wide, height: tall, class: "wn-frame" })));
        if (above) parts.unshift(svg("line", { x1: centre, y1: y, x2: above.row[i >> 1], y2: above.y, class: `wn-edge${l + 1 > here ? " wn-off" : ""}` }));
      }
      above = { row, y: y + tall };
      y += tall + (width < 480 ? 16 : 26);
    }
    y -= width < 480 ? 12 : 20;
    drawing.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${y}`, width, height: y, role: "group", "aria-label": `the tree for ${groups.letters.join("")}` }, ...parts));
    bottom.replaceChildren(...(here > levels ? [drawShares()] : []));
  }

  // Under each letter a bar, in a pale frame as tall as 100%.
  function drawShares() {
    const tallest = width < 480 ? 40 : 60, height = tallest + 38;
    const bars = groups.shares.flatMap((share, t) => {
      const centre = ((t + 0.5) * width) / stage.blockSize;
      return [
        svg("rect", { x: centre - 9, y: 2, width: 18, height: tallest, class: "wn-frame" }),
        svg("rect", { x: centre - 9, y: 2, width: 18, height: Math.max(tallest * share, 0.5), class: "wn-influence" }),
        svg("text", { x: centre, y: tallest + 16, class: "wn-small wn-middle" }, percent(share)),
      ];
    });
    const words = svg("text", { x: width / 2, y: height - 4, class: "wn-small wn-middle" }, "share in the prediction; a full frame is 100%");
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `shares in the prediction: ${groups.letters.map((letter, t) => `${letter} ${percent(groups.shares[t])}`).join(", ")}` }, ...bars, words);
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
      if (!typing) remember();
      update();
    },
    level: () => (level.place(model.get("level")), update()),
  });

  const { root, resettle } = frame("tree", {
    title: "A tree reads the last letters of a name, pair by pair",
    attempt: model.get("level") > levels
      ? "press another letter's bar at the top. The green bars below the name then say which letters it depends on."
      : "press Play, and watch pairs become fours, and fours the whole. Then press the last letter under the tree and type another: only nodes above it change.",
    legend: [["square", "red", "a number above zero"], ["square", "blue", "below zero; the paler, the closer to zero"],
      ["box", "ink", "changed by what you typed"]],
    answer: [explanation, top, drawing, leaves, bottom, node("div", { class: "wn-either" }, changes, problem)],
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

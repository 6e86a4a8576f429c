// Sounds side by side: each with its spectrogram, a button that plays it, and one head that moves over all.
//
// All sounds have one length and one place: to press another button goes on where the last one was.

function wav(samples, rate) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((c, i) => header.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"), text(8, "WAVEfmt "), text(36, "data");
  header.setUint32(4, 36 + samples.length, true), header.setUint32(16, 16, true), header.setUint16(20, 1, true);
  header.setUint16(22, 1, true), header.setUint32(24, rate, true), header.setUint32(28, rate, true);
  header.setUint16(32, 1, true), header.setUint16(34, 8, true), header.setUint32(40, samples.length, true);
  return new Blob([header, samples], { type: "audio/wav" });
}

function render({ model, el }) {
  const titles = model.get("titles"), rate = model.get("rate"), high = model.get("bins");
  const opening = model.get("opening");
  const data = (name) => {
    const view = model.get(name);
    return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  };
  const samples = data("samples"), spectra = data("spectra");
  const length = samples.length / titles.length, columns = spectra.length / titles.length / high;
  const seconds = length / rate;
  const { root: heard, say } = voice();
  const addresses = [];
  let playing = -1, at = 0, frame_ = 0;

  function picture(i) {
    const canvas = node("canvas", { class: "wn-spectrum", width: columns, height: high, "aria-hidden": "true" });
    const paint = canvas.getContext("2d"), image = paint.createImageData(columns, high);
    for (let f = 0; f < high; f++)
      for (let t = 0; t < columns; t++) // black, more or less of it; the style sheet inverts it on dark pages
        image.data[4 * ((high - 1 - f) * columns + t) + 3] = spectra[(i * high + f) * columns + t];
    paint.putImageData(image, 0, 0);
    return canvas;
  }

  const rows = titles.map((title, i) => {
    const address = URL.createObjectURL(wav(samples.slice(i * length, (i + 1) * length), rate));
    addresses.push(address);
    const audio = node("audio", { src: address, preload: "auto", onended: () => playing === i && stop(0) });
    const button = node("button", { type: "button", onclick: () => (playing === i ? stop(at) : play(i)) });
    const head = node("span", { class: "wn-head" });
    const marks = opening[i] ? [node("span", { class: "wn-opening", style: `left: ${(100 * opening[i]) / seconds}%` })] : [];
    const board = node("div", { class: "wn-board wn-sound", onclick: (event) => {
      const box = board.getBoundingClientRect();
      move((seconds * (event.clientX - box.left)) / box.width);
    } }, picture(i), ...marks, head);
    return { audio, button, head, root: node("div", { class: "wn-clip" }, node("div", { class: "wn-buttons" }, button), board, audio) };
  });

  const place = slider("Place (seconds)", { min: 0, max: seconds, step: 0.05, value: 0, show: (s) => s.toFixed(2) }, (s) => move(s));

  function show() {
    rows.forEach(({ button, head, root }, i) => {
      button.textContent = `${playing === i ? "❚❚" : "▶"} ${titles[i]}`;
      button.setAttribute("aria-label", `${playing === i ? "Pause" : "Play"}: ${titles[i]}`);
      root.classList.toggle("wn-playing", playing === i);
      head.style.left = `${(100 * at) / seconds}%`;
    });
    place.place(at);
  }

  function move(to) {
    at = Math.min(Math.max(to, 0), seconds);
    if (playing >= 0) rows[playing].audio.currentTime = at;
    show();
  }

  function stop(to) {
    cancelAnimationFrame(frame_);
    if (playing >= 0) rows[playing].audio.pause();
    playing = -1;
    at = to;
    show();
  }

  function play(i) {
    const from = at >= seconds - 0.05 ? 0 : at;
    stop(from);
    playing = i;
    rows[i].audio.currentTime = from;
    rows[i].audio.play().catch(() => stop(at));
    say(`Playing: ${titles[i]}`);
    const follow = () => {
      if (playing !== i) return;
      at = rows[i].audio.currentTime;
      show();
      frame_ = requestAnimationFrame(follow);
    };
    follow();
  }

  const scale = node("p", { class: "wn-note wn-scale" }, `Each picture: 0 to ${seconds} seconds, 0 to ${count(model.get("highest"))} Hz from bottom to top.`);
  const { root } = frame("listening", {
    title: model.get("title"), attempt: model.get("attempt"),
    legend: [["square", "ink", "dark (on dark pages, bright): loud at this frequency"], ["stroke", "red", "the place that is heard"],
      ["stroke", "blue", "the network writes from here on"]],
    answer: [...rows.map((row) => row.root), scale], controls: [place.root],
  });
  root.append(heard);
  el.replaceChildren(root);
  show();
  return () => {
    stop(0);
    addresses.forEach((address) => URL.revokeObjectURL(address));
  };
}

export default { render };

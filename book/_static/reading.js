// Which chapters were opened, and which read to the end: kept in this browser, and nowhere else.
//
// Stored under one key, for each chapter true (read to the end) or the headings that were in view so far.
// A chapter is read when each of its sections has been in view, so that a jump to the end is no reading.
// Where the browser stores nothing, as it may in a private window, nothing is shown.
(() => {
  const KEY = "wavenet-book-progress";

  function stored() {
    try {
      const found = JSON.parse(localStorage.getItem(KEY) || "{}");
      return found?.pages instanceof Object ? found : { pages: {} };
    } catch {
      return { pages: {} };
    }
  }
  function store(progress) {
    try {
      localStorage.setItem(KEY, JSON.stringify(progress));
      return true;
    } catch {
      return false;
    }
  }
  function clear() {
    try {
      localStorage.removeItem(KEY);
    } catch {
      // Nothing was kept.
    }
  }
  function works() {
    try {
      localStorage.setItem(`${KEY}-probe`, "1");
      localStorage.getItem(KEY);
      localStorage.removeItem(`${KEY}-probe`);
      return true;
    } catch {
      return false;
    }
  }

  const root = new URL(document.documentElement.dataset.content_root || "./", location.href);
  // A page is known by its path below the book's root, wherever the book lies.
  function pageOf(href) {
    const path = new URL(href, location.href).pathname;
    const base = root.pathname;
    return path.startsWith(base) ? decodeURIComponent(path.slice(base.length)).replace(/\.html$/, "") : "";
  }

  const ownText = (link) =>
    [...link.childNodes].filter((node) => !node.classList?.contains("reading-mark"))
      .map((node) => node.textContent).join("").trim();
  // The numbered entries of the contents are the chapters, part by part.
  const chapters = () =>
    [...document.querySelectorAll(".bd-sidebar-primary .toctree-l1 > a")]
      .filter((link) => /^\d+\.\s/.test(link.textContent.trim()))
      .map((link) => ({ link, page: pageOf(link.href), title: ownText(link) }));

  const SAYS = { read: "read to the end", opened: "opened" };
  const stateOf = (progress, page) =>
    progress.pages[page] === true ? "read" : page in progress.pages ? "opened" : "";

  function drawn(state) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 12 12");
    svg.setAttribute("aria-hidden", "true");
    const full = ["M6 .5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z", "M3.4 6.2l1.9 1.9 3.4-3.9"];
    const half = ["M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z", "M6 1a5 5 0 0 1 0 10z"];
    for (const d of state === "read" ? full : half) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", d);
      svg.append(path);
    }
    return svg;
  }

  function mark(link, state) {
    link.querySelector(":scope > .reading-mark")?.remove();
    if (!state) return;
    const span = document.createElement("span");
    span.className = `reading-mark reading-${state}`;
    span.title = SAYS[state];
    const words = document.createElement("span");
    words.className = "visually-hidden";
    words.textContent = ` (${SAYS[state]})`;
    span.append(drawn(state), words);
    link.append(span);
  }

  // Where to go on: the chapter that was opened last, unless it is read; then the next one that is not.
  function next(progress, listed) {
    const last = listed.findIndex(({ page }) => page === progress.last);
    const turn = last < 0 ? listed : [...listed.slice(last), ...listed.slice(0, last)];
    return turn.find(({ page }) => stateOf(progress, page) !== "read");
  }

  const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  function startPage(progress, listed) {
    const road = document.querySelector("article #the-road > h2");
    if (!road) return;
    for (const link of document.querySelectorAll("article #the-road dt > a")) {
      mark(link, stateOf(progress, pageOf(link.href)));
    }
    const states = listed.map(({ page }) => stateOf(progress, page));
    const read = states.filter((state) => state === "read").length;
    const opened = states.filter((state) => state === "opened").length;
    let box = document.querySelector(".reading");
    if (!read && !opened) {
      box?.remove();
      return;
    }
    if (!box) {
      box = document.createElement("div");
      box.className = "reading";
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Your progress");
      road.after(box);
    }
    const where = document.createElement("p");
    const all = count(listed.length, "chapter");
    where.append(read ? `You have read ${read} of ${all} to the end` : `You have opened ${opened} of ${all}`);
    where.append(read && opened ? `, and opened ${opened} more. ` : ". ");
    const on = next(progress, listed);
    if (on) {
      const link = document.createElement("a");
      link.href = on.link.href;
      link.textContent = on.title;
      where.append("Go on with ", link, ".");
    }
    const note = document.createElement("p");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Clear my progress";
    button.addEventListener("click", () => {
      clear();
      show();
      const said = document.createElement("p");
      said.className = "reading";
      said.tabIndex = -1;
      said.textContent = "Cleared. This browser no longer knows which chapters you have read.";
      road.after(said);
      said.focus();
    });
    note.className = "reading-note";
    note.append("This is kept in this browser and never leaves it. ", button);
    box.replaceChildren(where, note);
  }

  function show() {
    const progress = stored();
    const listed = chapters();
    for (const { link, page } of listed) mark(link, stateOf(progress, page));
    startPage(progress, listed);
  }

  // On a chapter: it is opened now, and its sections come into view one by one.
  function follow() {
    if (!document.querySelector("article h1 > .part-number")) return;
    const page = pageOf(location.href);
    const keep = (change) => {
      const progress = stored(); // another window may have written
      const before = progress.pages[page];
      const after = before === true ? true : change(Array.isArray(before) ? before : []);
      store({ ...progress, last: page, pages: { ...progress.pages, [page]: after } });
      if (stateOf(progress, page) !== (after === true ? "read" : "opened")) show();
    };
    keep((seen) => seen);
    const sections = [...document.querySelectorAll("article section[id] > h2")];
    const ids = sections.map((heading) => heading.parentElement.id);
    const watch = new IntersectionObserver((entries) => {
      const met = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
      if (!met.length) return;
      for (const heading of met) watch.unobserve(heading);
      keep((seen) => {
        const all = new Set([...seen, ...met.map((heading) => heading.parentElement.id)]);
        return ids.every((id) => all.has(id)) ? true : ids.filter((id) => all.has(id));
      });
    });
    for (const heading of sections) watch.observe(heading);
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!works()) return;
    follow();
    show();
    addEventListener("load", show); // what the window before stored may have come late
    addEventListener("storage", (event) => event.key === KEY && show()); // another window
    addEventListener("pageshow", (event) => event.persisted && show()); // back to a page that was kept
  });
})();

// What makes the book's notebooks read well in JupyterLab. `make lab` loads it (tools/lab.py); it is a
// labextension without a build: JupyterLab wants `init` and `get`, and takes its plugin from them.
(() => {
  const NAME = "wavenet-book";
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  // jupyterlab_myst draws a role whose target it does not know as its raw key, under one of these titles.
  const UNKNOWN = '[title="Citation Not Found"], [title="Cross Reference Not Found"]';
  // A link without a text of its own is drawn as the file that it leads to.
  const LINK = ".jp-Notebook .jp-MarkdownCell a[href]";
  // An exercise is numbered within its notebook; a term of the glossary, which is a page and no part of the
  // notebook, is a link that leads nowhere, with a card that says so.
  const EXERCISE = ".jp-Notebook .myst-exercise-title > a:not(.book-exercise)";
  const TERM = '.jp-Notebook a.hover-link[href="#"]';
  let shared;

  /** One of JupyterLab's own modules, as other extensions get it. */
  async function moduleOf(name) {
    const [version] = Object.values(shared[name]);
    return (await version.get())();
  }

  /** Write the words for the key: "Fig. 5.2", "Harris et al., 2020". */
  function name(unknown, words) {
    const known = words[unknown.textContent.trim()];
    if (!known) return;
    // Of a citation in a sentence, {cite:t}, the year alone stands in parentheses.
    unknown.lastChild.data = (unknown.closest(".narrative") && known.inSentence) || known.text;
    unknown.querySelector("svg")?.remove();
    unknown.title = known.title;
    unknown.classList.add("book-reference");
  }

  /** Write the title of a page for the name of its file: "Scaling up" for "06_scaling_up.ipynb". */
  function entitle(link, words) {
    const known = /\.(ipynb|md)$/.test(link.textContent) && words[link.textContent.split("/").pop()];
    if (known) link.lastChild.data = known.text;
  }

  /** Write the number that an exercise has on the page: "Exercise 5.1" for "Exercise 1". */
  function number(link, words) {
    link.classList.add("book-exercise");
    const known = words[link.getAttribute("href").slice(1)];
    if (!known) return;
    const [first, ...others] = link.childNodes; // the word and its number
    first.data = known.text;
    others.forEach((other) => { other.data = ""; });
  }

  /** A term is text, and says on hover what it means. */
  function define(link, words) {
    link.removeAttribute("href");
    link.classList.replace("hover-link", "book-term");
    link.title = words[`term:${link.textContent.trim().replaceAll("’", "'")}`]?.title ?? "";
    link.addEventListener("pointerover", (event) => event.stopPropagation()); // or its card would open
  }

  /** A caption's text, with what captions hold of MyST: `code`, $letters$, [links](page) and {term}`terms`. */
  function drawn(text, words, page) {
    const INLINE = /\{term\}`([^`<]+?)\s*(?:<[^`>]*>)?`|`([^`]+)`|\$([^$]+)\$|\[([^\]]+)\]\(([^)]+)\)/g;
    const parts = [];
    let end = 0;
    for (const found of text.matchAll(INLINE)) {
      const [whole, term, code, formula, linked, target] = found;
      const part = document.createElement(term ? "span" : code ? "code" : formula ? "i" : "a");
      part.textContent = term ?? code ?? formula ?? linked;
      if (term) Object.assign(part, { className: "book-term", title: words[`term:${term}`]?.title ?? "" });
      if (target) {
        const path = new URL(target, `file:///${page}`).pathname.slice(1);
        part.href = "#";
        part.dataset.commandlinkerCommand = "docmanager:open"; // JupyterLab's own way of a link to a command
        part.dataset.commandlinkerArgs = JSON.stringify({ path });
      }
      parts.push(text.slice(end, found.index), part);
      end = found.index + whole.length;
    }
    return [...parts, text.slice(end)];
  }

  /** Under a figure: its number and caption, which stand in the metadata of its cell. */
  async function caption(cell, words, page) {
    const figure = cell.model.getMetadata("mystnb")?.figure;
    if (!figure?.caption) return;
    await cell.ready;
    const line = document.createElement("p");
    line.className = "book-caption";
    const number = document.createElement("b");
    number.textContent = words[figure.name]?.text ?? "";
    line.append(number, " ", ...drawn(figure.caption.replace(/<!--.*?-->/g, ""), words, page));
    if (!cell.node.querySelector(".book-caption")) cell.node.append(line);
  }

  /** A notebook is not changed by the names that its first kernel writes into it. */
  async function unchanged({ context, sessionContext }) {
    const cells = () => JSON.stringify(context.model.toJSON().cells);
    await context.ready;
    const before = cells();
    await sessionContext.ready;
    const kernel = sessionContext.session?.kernel;
    if (!kernel) return;
    await Promise.all([kernel.info, kernel.spec]);
    setTimeout(() => {
      if (cells() === before) context.model.dirty = false;
    });
  }

  async function activate(app, tracker) {
    const style = document.createElement("link");
    Object.assign(style, { rel: "stylesheet", href: `${here}book.css` });
    document.head.append(style);
    const words = await (await fetch(`${here}words.json`)).json();

    const look = () => {
      document.querySelectorAll(UNKNOWN).forEach((unknown) => name(unknown, words));
      document.querySelectorAll(LINK).forEach((link) => entitle(link, words));
      document.querySelectorAll(EXERCISE).forEach((link) => number(link, words));
      document.querySelectorAll(TERM).forEach((link) => define(link, words));
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true });

    const opened = async (panel) => {
      unchanged(panel);
      await panel.context.ready;
      const captions = () => panel.content.widgets.forEach((cell) => caption(cell, words, panel.context.path));
      captions();
      panel.content.model.cells.changed.connect(captions);
    };
    tracker.forEach(opened);
    tracker.widgetAdded.connect((_, panel) => opened(panel));
  }

  // Extensions are loaded side by side: the first one finds no such object.
  (window._JUPYTERLAB ??= {})[NAME] = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const { INotebookTracker } = await moduleOf("@jupyterlab/notebook");
      const plugin = { id: `${NAME}:plugin`, autoStart: true, requires: [INotebookTracker], activate };
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();

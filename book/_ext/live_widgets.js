// Renders the anywidgets of a page from the state that its notebook stored.
window.addEventListener("DOMContentLoaded", () => {
  const STATE = "application/vnd.jupyter.widget-state+json";
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const stored = {};
  for (const script of document.querySelectorAll(`script[type="${STATE}"]`))
    Object.assign(stored, JSON.parse(script.textContent).state);

  const bytes = (base64) => new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);

  // What a front end sees of a widget: its traits, and a call at every change.
  function modelOf({ state, buffers = [] }) {
    const traits = { ...state };
    for (const { path, data } of buffers) traits[path[0]] = bytes(data);
    const listeners = {};
    return {
      get: (name) => traits[name],
      set(name, value) {
        if (traits[name] === value) return;
        traits[name] = value;
        for (const listener of listeners[`change:${name}`] || []) listener();
      },
      save_changes() {},
      on: (event, listener) => (listeners[event] ||= new Set()).add(listener),
      off: (event, listener) => listeners[event]?.delete(listener),
    };
  }

  // Widgets share one style sheet: the built page has it at one of them.
  for (const css of new Set(Object.values(stored).map(({ state }) => state._css).filter(Boolean))) {
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
  }

  const fronts = new Map(); // the same source is one module, however many widgets run it
  function front(source) {
    if (!fronts.has(source)) {
      const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      fronts.set(source, import(address));
    }
    return fronts.get(source);
  }

  // While a widget reaches into the lowest part of the window, "Back to top" would lie over its controls.
  const below = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) below[isIntersecting ? "add" : "delete"](target);
    document.documentElement.toggleAttribute("data-widget-below", below.size > 0);
  }, { rootMargin: "-85% 0px 0px" });

  async function show(script) {
    const widget = stored[JSON.parse(script.textContent).model_id];
    const el = document.createElement("div");
    el.className = "live-widget";
    script.after(el);
    watch.observe(el);
    if (!widget?.state._esm) {
      el.textContent = "This control talks to Python. It comes alive when the notebook runs in JupyterLab.";
      el.classList.add("needs-kernel");
      return;
    }
    const { default: module } = await front(widget.state._esm);
    await module.render({ model: modelOf(widget), el });
    el.dataset.ready = "";
  }

  for (const script of document.querySelectorAll(`script[type="${VIEW}"]`)) show(script);
});

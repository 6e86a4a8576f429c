"""A small Sphinx extension: what static, offline pages need and nobody else adds."""

import re

# 1. The widget manager draws its buttons' icons with <i> elements. Font Awesome's
#    default replaces these, and the Play widget then loses the node it works on.
# 2. The widget manager typesets labels through MathJax 2's queue; the pages have 3.
SCRIPT = """
window.FontAwesomeConfig = { autoReplaceSvg: "nest" };
window.addEventListener("DOMContentLoaded", function () {
  if (window.MathJax && !window.MathJax.Hub) {
    window.MathJax.Hub = {
      Queue: function (call) {
        if (window.MathJax.typesetPromise) window.MathJax.typesetPromise([call[2]]);
      },
    };
  }
});
"""

# jupyterquiz opens a <div> for its questions and leaves it open, so a browser would
# put the rest of the chapter inside it.
OPEN_QUIZ = re.compile(r'(<div id="\w{12}" data-shufflequestions=[^>]*><style>.*?</style>)', re.DOTALL)

# It also asks for MathJax's version half a second later, fails where MathJax is still on its
# way, and may then send for another one over the network. MathJax, once it has come, typesets
# the whole page, the quiz with it.
QUIZ_ASKS_FOR_MATHJAX = "if (typeof MathJax != 'undefined') {"
QUIZ_LEAVES_IT_TO_MATHJAX = "if (typeof MathJax != 'undefined' && MathJax.typeset) {"


def mend_quizzes(app, pagename, templatename, context, doctree):
    if "body" in context:
        body = OPEN_QUIZ.sub(r"\1</div>", context["body"])
        context["body"] = body.replace(QUIZ_ASKS_FOR_MATHJAX, QUIZ_LEAVES_IT_TO_MATHJAX)


def is_thebe(asset) -> bool:
    """Thebe connects a page to a remote kernel; jupyter-book always adds it, even twice."""
    text = f"{getattr(asset, 'filename', '')} {getattr(asset, 'attributes', '')}"
    return "thebe" in text.lower()


def drop_thebe(app, pagename, templatename, context, doctree):
    for key in ("script_files", "css_files"):
        if key in context:
            context[key] = [asset for asset in context[key] if not is_thebe(asset)]


def setup(app):
    app.add_js_file(None, body=SCRIPT, priority=1)
    app.connect("html-page-context", mend_quizzes)
    app.connect("html-page-context", drop_thebe, priority=999)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

// Change the pages' engine in one place at a time, and see which changes its tests notice (tests/engine).
//
//     .venv/bin/node --expose-internals tools/mutate_js.mjs              200 mutants, seed 0: about five minutes
//     ... tools/mutate_js.mjs -n 50 --seed 3                             others, and fewer
//     ... tools/mutate_js.mjs --list                                     all that could be changed; runs nothing
//
// The parser is node's own copy of acorn, for which the option asks. What belongs to the engine says
// tests/engine/engine.mjs. A mutant is killed where a test fails, or where only the limit ends it. One process
// at a time, in a copy of the sources: the folder itself stays as it is. No part of make test.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { ENGINE, load } from "../tests/engine/engine.mjs";

const { parse } = createRequire(import.meta.url)("internal/deps/acorn/acorn/dist/acorn");
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SOURCES = join(ROOT, "src/common/pages/widgets");
const TESTS = join(ROOT, "tests/engine");
const FILES = readdirSync(TESTS).filter((name) => name.endsWith(".test.mjs")).map((name) => pathToFileURL(join(TESTS, name)).href);
const SECONDS = 5; // of computing, where all tests need a third of one: however busy the machine
const RUN = `import { afterEach } from "node:test";
  afterEach((test) => test.passed || process.exit(1)); // the first failure is enough
  for (const file of process.argv.slice(1)) await import(file);`;

const OPERATORS = {
  "+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "**": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
  "===": "!==", "!==": "===", "&&": "||", "||": "&&", "??": "&&", "&": "|", "|": "&", "^": "&", ">>": "<<", ">>>": ">>",
  "+=": "-=", "-=": "+=", "++": "--", "--": "++",
};
const NAMES = { max: "min", min: "max", some: "every", every: "some", floor: "ceil", ceil: "floor", find: "findLast",
  findIndex: "findLastIndex", findLastIndex: "findIndex", indexOf: "lastIndexOf", lastIndexOf: "indexOf" };
const REMOVED = ["ExpressionStatement", "IfStatement", "ForStatement", "ForOfStatement", "WhileStatement", "ContinueStatement", "BreakStatement"];

// What a node of the syntax tree can be changed into: [what was done, start, end, new text].
function* changesOf(node, source) {
  const text = ({ start, end }) => source.slice(start, end);
  if (Object.hasOwn(OPERATORS, node.operator ?? "") && node.type !== "UnaryExpression") {
    const [from, to] = node.type === "UpdateExpression" ? (node.prefix ? [node.start, node.argument.start] : [node.argument.end, node.end])
      : [node.left.end, node.right.start];
    yield ["operator", from, to, source.slice(from, to).replace(node.operator, OPERATORS[node.operator])];
  }
  if (node.type === "UnaryExpression" && "-!".includes(node.operator)) yield ["sign or not", node.start, node.end, text(node.argument)];
  if (node.type === "Literal" && typeof node.value === "number")
    for (const step of [1, -1]) yield ["constant", node.start, node.end, `(${node.value + step})`];
  if (node.type === "Literal" && typeof node.value === "boolean") yield ["constant", node.start, node.end, String(!node.value)];
  if (node.type === "Literal" && typeof node.value === "string" && node.value) yield ["text", node.start, node.end, '""'];
  if (node.type === "TemplateElement" && node.value.raw.trim()) yield ["text", node.start, node.end, ""];
  if (["IfStatement", "ConditionalExpression", "WhileStatement", "ForStatement"].includes(node.type) && node.test)
    yield ["condition", node.test.start, node.test.end, `!(${text(node.test)})`];
  if (node.type === "MemberExpression" && Object.hasOwn(NAMES, node.property.name ?? ""))
    yield ["name", node.property.start, node.property.end, NAMES[node.property.name]];
  if (REMOVED.includes(node.type)) yield ["statement", node.start, node.end, ";"];
  if (node.type === "ReturnStatement" && node.argument) yield ["statement", node.start, node.end, "return;"];
}

function* nodesIn(node) {
  if (Array.isArray(node)) for (const one of node) yield* nodesIn(one);
  else if (node && typeof node.type === "string") {
    yield node;
    for (const value of Object.values(node)) if (value && typeof value === "object") yield* nodesIn(value);
  }
}

const namesOf = (node) => (node.declarations ?? [node]).map(({ id }) => id?.name);

function everyMutant() {
  const found = [];
  for (const [file, own] of Object.entries(ENGINE)) {
    const source = readFileSync(join(SOURCES, `${file}.js`), "utf8");
    const { body } = parse(source, { ecmaVersion: "latest", sourceType: "module" });
    const engine = body.filter((node) => own === "all" || namesOf(node).some((name) => own.includes(name)));
    for (const node of nodesIn(engine))
      for (const [kind, start, end, text] of changesOf(node, source))
        found.push({ file, kind, source, start, end, text, line: source.slice(0, start).split("\n").length });
  }
  return found;
}

const short = (text) => (text.length > 70 ? `${text.slice(0, 67)}...` : text).replace(/\s+/g, " ");
const told = ({ file, line, kind, source, start, end, text }) =>
  `${file}.js:${line}, ${kind}: \`${short(source.slice(start, end))}\` -> \`${short(text)}\` in \`${source.split("\n")[line - 1].trim().slice(0, 110)}\``;

// "killed", "timed out" or "survived", by the tests on the sources in a folder.
function verdict(folder) {
  const node = [process.execPath, "--max-old-space-size=256", "--input-type=module", "-e", RUN, ...FILES];
  const done = spawnSync("sh", ["-c", `ulimit -t ${SECONDS}; exec "$@"`, "sh", ...node], {
    env: { ...process.env, ENGINE_SOURCES: folder }, stdio: "ignore",
  });
  if (done.signal) return "timed out"; // or without end in its memory
  return done.status ? "killed" : "survived";
}

const { values: options } = parseArgs({ options: {
  n: { type: "string", short: "n", default: "200" }, seed: { type: "string", default: "0" }, list: { type: "boolean" },
} });
const draw = load("page", "model").random(Number(options.seed));
const all = everyMutant();
console.log(`${all.length} mutants are possible`);
const order = all.map((mutant) => [draw(), mutant]).sort(([a], [b]) => a - b).map(([, mutant]) => mutant);
const sample = order.slice(0, Number(options.n));
if (options.list) sample.forEach((mutant) => console.log(told(mutant)));
else {
  const folder = mkdtempSync(join(tmpdir(), "engine-"));
  try {
    cpSync(SOURCES, folder, { recursive: true, filter: (path) => !path.includes("__pycache__") });
    if (verdict(folder) !== "survived") throw new Error("expected the tests to pass with nothing changed");
    const table = {};
    sample.forEach((mutant, i) => {
      const path = join(folder, `${mutant.file}.js`);
      writeFileSync(path, mutant.source.slice(0, mutant.start) + mutant.text + mutant.source.slice(mutant.end));
      const found = verdict(folder);
      writeFileSync(path, mutant.source);
      for (const row of [mutant.kind, "all"]) ((table[row] ??= { killed: 0, "timed out": 0, survived: 0 })[found] += 1);
      console.log(`${i + 1}. ${found}${found === "killed" ? "" : `: ${told(mutant)}`}`);
    });
    console.table(table);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

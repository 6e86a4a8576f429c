// Open every page of the built book in Firefox, from its file, and say what a reader would meet there.
//
//     make firefox              all pages, in some minutes; FIREFOX names another binary
//
// The tests of the pages drive Chromium. This is a look at a second engine: nothing in the console, no file
// missing, nothing asked of another machine, no page wider than a phone, every widget drawn, the search answers,
// a widget and a quiz react, and what is smuggled into a page does not run. puppeteer drives an unchanged Firefox
// (WebDriver BiDi). It is in no lock: make puts it into build/firefox.
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const HTML = join(ROOT, "book/_build/html");
const BINARIES = [process.env.FIREFOX, "/usr/bin/firefox", "/usr/bin/firefox-esr", "/Applications/Firefox.app/Contents/MacOS/firefox"];
const executablePath = BINARIES.find((path) => path && existsSync(path));
const pages = readdirSync(HTML, { recursive: true })
  .filter((name) => name.endsWith(".html") && !/(^|\/)_|^404/.test(name)).sort(); // a server's 404.html is none of a folder's
const found = []; // what is wrong

// Runs in the page. What a mistake in how text is inserted could let in, and whether any of it ran.
async function smuggled() {
  const ran = [], held = new Set();
  document.addEventListener("securitypolicyviolation", (event) => held.add(event.effectiveDirective));
  globalThis.run = (what) => ran.push(what);
  const place = document.querySelector("article").appendChild(document.createElement("div"));
  place.innerHTML = `<img src="data:," onerror="run('handler')"><svg onload="run('svg')"></svg>
    <iframe srcdoc="<script>parent.run('frame')</script>"></iframe><a href="javascript:run('address')">a</a>`;
  place.querySelector("a").click();
  const add = (name, values) => document.head.append(Object.assign(document.createElement(name), values));
  add("script", { textContent: "run('tag')" });
  add("script", { src: "data:text/javascript,run('data')" });
  add("script", { src: "http://127.0.0.2:9/x.js" });
  await fetch("http://127.0.0.2:9/y?names").catch(() => {});
  try { (0, eval)("run('eval')"); } catch { held.add("eval"); }
  await new Promise((done) => setTimeout(done, 500));
  place.remove();
  return { ran, held: [...held].sort() };
}

async function open(browser, name, [width, height]) {
  const page = await browser.newPage();
  const say = (what) => found.push(`${name}, ${width} wide: ${what}`);
  page.on("console", (message) => message.type() !== "log" && say(`${message.type()}: ${message.text().slice(0, 200)}`));
  page.on("pageerror", (error) => say(String(error)));
  page.on("request", (request) => /^(file|data|blob|about):/.test(request.url()) || say(`asked for ${request.url()}`));
  page.on("requestfailed", (request) => say(`could not load ${request.url()}`));
  await page.setViewport({ width, height }).catch(() => {}); // an older Firefox cannot turn its screen as well
  for (let tries = 0; (await page.evaluate(() => innerWidth)) !== width; tries++) {
    if (tries === 50) throw new Error(`expected a window ${width} wide, got ${await page.evaluate(() => innerWidth)}`);
    await pause(100);
  }
  await page.goto(pathToFileURL(join(HTML, name)).href, { waitUntil: "load", timeout: 120_000 });
  return page;
}

const expect = (what, holds) => holds || found.push(what);

async function read(browser, name) {
  const page = await open(browser, name, [1200, 900]);
  const seen = await page.evaluate(async () => {
    const outputs = [...document.querySelectorAll(".live-widget, article img")]; // drawn, or loaded, when in view
    for (const output of outputs) {
      output.scrollIntoView();
      await new Promise((done) => setTimeout(done, 60));
    }
    const missing = () => [...document.querySelectorAll("article img")].filter((img) => !img.naturalWidth);
    for (let tries = 0; tries < 50 && (tries < 5 || missing().length); tries++) {
      missing()[0]?.scrollIntoView();
      await new Promise((done) => setTimeout(done, 100));
    }
    return {
      asked: document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').length,
      drawn: [...document.querySelectorAll(".live-widget")].filter((one) => one.offsetHeight > 10).length,
      broken: missing().map((img) => img.src.slice(-60)),
    };
  });
  expect(`${name}: ${seen.drawn} of ${seen.asked} widgets are drawn`, seen.drawn === seen.asked);
  expect(`${name}: no picture at ${seen.broken}`, !seen.broken.length);
  if (process.env.BOOK_SHOTS) {
    mkdirSync(process.env.BOOK_SHOTS, { recursive: true });
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: join(process.env.BOOK_SHOTS, `${name.replaceAll("/", "-")}.png`) });
  }
  await page.close();
  const phone = await open(browser, name, [360, 740]);
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
  expect(`${name}: ${wide} pixels wide on a phone of 360`, wide <= 360);
  await phone.close();
  return seen.drawn;
}

async function use(browser) {
  const playground = await open(browser, "playground.html", [1200, 900]);
  const field = await playground.waitForSelector(".wn-playground input[type=text]");
  const bars = () => playground.$eval(".wn-playground", (one) => one.textContent);
  const before = await bars();
  await field.click({ count: 3 });
  await field.type("quentin");
  await pause(1_000);
  expect("playground: what is typed changes nothing", (await bars()) !== before);
  await playground.close();
  const search = await open(browser, "search.html", [1200, 900]);
  await (await search.waitForSelector("main input[type=search], .bd-content input[type=search]")).type("broadcasting\n");
  const first = await search.waitForSelector("#search-results ul.search li a", { timeout: 20_000 }).catch(() => null);
  expect("search: no answer", first);
  await search.close();
  const chapter = await open(browser, "wavenet/01_three_char_mlp.html", [1200, 900]);
  await (await chapter.waitForSelector("article .quiz input")).click();
  await pause(300);
  expect("quiz: an answer is not marked", await chapter.$("article .quiz [role=status]:not(:empty), article .quiz .right, article .quiz .wrong"));
  await chapter.close();
}

async function smuggle(browser) {
  for (const name of ["playground.html", "wavenet/09_sound.html"]) {
    const page = await browser.newPage(); // the browser tells of each in the console
    await page.goto(pathToFileURL(join(HTML, name)).href);
    const { ran, held } = await page.evaluate(smuggled);
    expect(`${name}: ${ran} ran`, !ran.length);
    console.log(`${name}: held by the policy: ${held.join(", ")}`);
    expect(`${name}: the policy holds only ${held}`, held.length >= 4);
    await page.close();
  }
}

if (!executablePath) {
  console.error("no Firefox: install it, or set FIREFOX=/path/to/it");
  process.exit(2);
}
const puppeteer = createRequire(join(ROOT, "build/firefox/"))("puppeteer-core");
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, defaultViewport: null });
try {
  await smuggle(browser);
  await use(browser);
  let widgets = 0;
  for (const name of pages) widgets += await read(browser, name);
  console.log(`${await browser.version()}: ${pages.length} pages, ${widgets} widgets, ${found.length} findings`);
} finally {
  await browser.close();
}
for (const line of found) console.log(line);
process.exitCode = found.length ? 1 : 0;

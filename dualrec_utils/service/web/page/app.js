// The page: what was named and set, one request after every change, and the answers.

import { ask, Locked, newestOnly, unlock } from "./asking.js";
import { suggest } from "./combobox.js";
import { inFull, make } from "./elements.js";
import * as historyList from "./history.js";
import * as link from "./link.js";
import * as answers from "./lists.js";

const LIMIT = 5;
// Milliseconds: until a pause in typing or sliding counts as an end; until an answer is called slow.
const TYPING = 400, SLIDING = 80, AT_ONCE = 0, SLOW = 2000;
// Searches whose first hits are an example to begin with; one that finds fewer than two is not shown.
const EXAMPLES = [
  ["alien", "blade runner", "star wars"],
  ["toy story", "babe", "wallace"],
  ["pulp fiction", "usual suspects", "fargo"],
];
// Of data that have none of them.
const ANY_EXAMPLES = [["m"], ["s"], ["f"]];
const FIRST_CHOICE = ["lstm", "language_model", "fusion"];

const $ = (id) => document.getElementById(id);
const newest = newestOnly();
const state = link.read(location.hash);
// Items that the API has shown, by id: a link has ids alone.
const items = new Map();
let server = { dataset: "", item_word: "item", models: [], missing: {}, runs: [] };
let tryAgain = () => {};

const many = () => `${server.item_word}s`;
const counted = (n) => `${n} ${n === 1 ? server.item_word : many()}`;
const itemOf = (id) => items.get(id) ?? { item_id: id, title: `No. ${id}`, year: null };
const remember = (list) => list.forEach((item) => items.set(item.item_id, item));
const say = (sentence) => ($("said").textContent = sentence);
const isEmpty = () => state.items.length === 0 && !state.text.trim();

function showTrouble(sentence, retry) {
  tryAgain = retry;
  $("trouble").firstElementChild.textContent = sentence;
  $("trouble").hidden = false;
}

function drawHistory() {
  historyList.draw($("history"), state.items.map(itemOf), { move, remove });
  $("order").hidden = state.items.length < 2;
  $("clear").hidden = isEmpty();
}

function changed(wait = AT_ONCE) {
  $("dropped").textContent = "";
  history.replaceState(null, "", link.write(state));
  drawHistory();
  update(wait);
}

function add(item) {
  remember([item]);
  if (state.items.includes(item.item_id)) return say(`${item.title} is among your ${many()} already.`);
  if (state.items.length === link.MOST_ITEMS) {
    return showTrouble(`${counted(link.MOST_ITEMS)} are the most. Remove one first.`, () => add(item));
  }
  state.items.push(item.item_id);
  say(`${item.title} added.`);
  changed();
}

function remove(place) {
  const [id] = state.items.splice(place, 1);
  say(`${itemOf(id).title} removed.`);
  changed();
  const rows = $("history").children;
  const next = rows[Math.min(rows.length - place, rows.length - 1)];
  (next?.querySelector("button:last-child") ?? $("search")).focus();
}

function move(from, to) {
  const [id] = state.items.splice(from, 1);
  state.items.splice(to, 0, id);
  say(`${itemOf(id).title} is now ${state.items.length - to} of ${state.items.length}.`);
  changed();
  historyList.focusMove($("history"), to, to - from);
}

async function update(wait) {
  $("start").hidden = !isEmpty();
  $("copy").hidden = $("settings").hidden = isEmpty();
  $("trouble").hidden = true;
  if (isEmpty() || state.models.length === 0) {
    $("lists").replaceChildren();
    $("near").textContent = "";
    $("status").textContent = isEmpty() ? "" : "Choose a model to ask.";
  }
  $("lists").setAttribute("aria-busy", "true");
  const retry = () => update(AT_ONCE);
  const slow = setTimeout(() => showTrouble("This takes longer than usual.", retry), SLOW);
  try {
    await newest(wait, show);
    $("trouble").hidden = true;
    $("lists").setAttribute("aria-busy", "false");
  } catch (error) {
    if (error.name !== "AbortError") showTrouble(error.message, retry);
  } finally {
    clearTimeout(slow);
  }
}

async function show(signal) {
  if (isEmpty() || state.models.length === 0) return;
  const asked = [...state.models];
  const body = { items: state.items, models: asked, limit: LIMIT, diversity: state.diversity };
  if (state.text.trim()) body.text = state.text.trim();
  const answer = await ask("recommend", { body, signal });
  remember(answer.history);
  for (const { recommendations } of answer.answers) remember(recommendations);
  drawHistory();
  const near = answer.from_text.map(({ title }) => title);
  $("near").textContent = near.length ? `Nearest to your words: ${near.slice(0, 3).join("; ")}.` : "";
  $("lists").replaceChildren(...answers.draw(answer.answers, asked, server.models, { add, many: many() }));
  const longest = Math.max(...answer.answers.map(({ recommendations }) => recommendations.length));
  const where = asked.length > 1 ? ` in each of ${asked.length} lists` : "";
  $("status").textContent = `${counted(longest)} updated${where}`;
}

/** Fields and switches as the state has them. */
function drawSettings() {
  $("text").value = state.text;
  if (state.text) $("words").open = true;
  $("diversity").value = state.diversity;
  nameDiversity();
  for (const box of $("models").querySelectorAll("input")) box.checked = state.models.includes(box.value);
}

function nameDiversity() {
  const percent = `${Math.round(100 * state.diversity)}%`;
  $("how-much").textContent = state.diversity ? percent : "Off";
  $("diversity").setAttribute("aria-valuetext", $("how-much").textContent);
}

/** Make items of the titles that another data set's page sent; drop, and count, those that are not here. */
async function recognise() {
  const { titles } = state;
  const known = (await ask("items", { body: { titles } })).filter(Boolean);
  // Somebody may have gone back meanwhile.
  if (state.titles !== titles) return;
  remember(known);
  const ids = new Set([...state.items, ...known.map(({ item_id }) => item_id)]);
  Object.assign(state, { items: [...ids].slice(-link.MOST_ITEMS), titles: [] });
  history.replaceState(null, "", link.write(state));
  const lost = titles.length - known.length;
  if (lost === 0) return;
  const was = lost === 1 ? "is not in this data set and was" : "are not in this data set and were";
  $("dropped").textContent = `${counted(lost)} of your list ${was} left out.`;
}

async function restore() {
  Object.assign(state, link.read(location.hash));
  $("dropped").textContent = "";
  // Another server may read texts where this one cannot.
  if ($("words").hidden) state.text = "";
  if (state.titles.length) {
    try {
      await recognise();
    } catch (error) {
      return showTrouble(error.message, restore);
    }
  }
  const sources = server.models.map(({ source }) => source);
  const known = (wanted) => sources.filter((source) => wanted.includes(source));
  state.models = [state.models, FIRST_CHOICE, sources].map(known).find((some) => some.length) ?? [];
  drawSettings();
  drawHistory();
  update(AT_ONCE);
}

async function drawExamples() {
  const first = (query) => ask("items", { query: { q: query } });
  const all = async (examples, hits) => {
    const found = await Promise.all(examples.map((searches) => Promise.all(searches.map(first))));
    return found
      .map((lists) => lists.flatMap((list) => list.slice(0, hits)))
      .filter((list) => list.length > 1);
  };
  let examples = await all(EXAMPLES, 1);
  if (examples.length === 0) examples = await all(ANY_EXAMPLES, 3);
  $("examples").replaceChildren(
    ...examples.map((list) => {
      const titles = list.map(({ title }) => make("span", { dir: "auto" }, title));
      const onclick = () => {
        remember(list);
        history.pushState(null, "", link.write({ ...state, items: list.map(({ item_id }) => item_id) }));
        restore();
        $("search").focus();
      };
      return make("li", {}, make("button", { type: "button", className: "example", onclick }, ...titles));
    }),
  );
}

function drawRuns() {
  const place = server.runs.findIndex(({ here }) => here);
  const named = ({ dataset, profile }) => make("option", {}, `${dataset} (profile ${profile})`);
  $("run").replaceChildren(...server.runs.map(named));
  $("run").selectedIndex = place;
  $("go").disabled = true;
  $("run").onchange = () => ($("go").disabled = $("run").selectedIndex === place);
  $("runs").hidden = server.runs.length < 2;
}

/** Go to the page of the data set that was chosen, and take everything along. */
async function go() {
  const { port } = server.runs[$("run").selectedIndex];
  try {
    // Of a link that was not answered yet only ids are known, and ids are a data set's own.
    if (!state.items.every((id) => items.has(id))) {
      remember((await ask("recommend", { body: { items: state.items, limit: 1 } })).history);
    }
  } catch (error) {
    return showTrouble(error.message, go);
  }
  const there = new URL(location.href);
  there.port = port;
  there.hash = link.write({ ...state, items: [], titles: state.items.map((id) => inFull(items.get(id))) });
  location.assign(there);
}

function drawModels() {
  $("models").replaceChildren(
    ...server.models.map(({ source }) => {
      const box = make("input", { type: "checkbox", value: source });
      box.addEventListener("change", () => {
        const boxes = [...$("models").querySelectorAll("input:checked")];
        state.models = boxes.map(({ value }) => value);
        changed();
      });
      return make("label", {}, box, answers.nameOf(source));
    }),
  );
}

async function start() {
  $("trouble").hidden = true;
  try {
    server = await ask("models");
  } catch (error) {
    $("door").hidden = !(error instanceof Locked);
    return error instanceof Locked ? $("token").focus() : showTrouble(error.message, start);
  }
  $("door").hidden = true;
  for (const place of document.querySelectorAll("[data-word=many]")) place.textContent = many();
  server.models.sort((a, b) => answers.placeOf(a.source) - answers.placeOf(b.source));
  const missing = Object.entries(server.missing);
  // Texts are compared by the rating model, which also expects the stars.
  $("words").hidden = "rating_hybrid" in server.missing;
  $("about").textContent = [
    `Data: ${server.dataset}.`,
    ...($("words").hidden ? [] : ["Stars are what the rating model expects you to give, out of five."]),
    ...missing.map(([source, why]) => `${answers.nameOf(source)} is not here: ${why}.`),
  ].join(" ");
  drawRuns();
  drawModels();
  restore();
  drawExamples().catch(() => $("examples").replaceChildren());
}

suggest($("search"), $("suggestions"), $("found"), {
  search: (typed, signal) => ask("items", { query: { q: typed }, signal }),
  choose: add,
  fail: (error, retry) => showTrouble(error.message, retry),
});
$("retry").addEventListener("click", () => tryAgain());
$("text").addEventListener("input", () => {
  state.text = $("text").value;
  changed(TYPING);
});
$("diversity").addEventListener("input", () => {
  state.diversity = Number($("diversity").value);
  nameDiversity();
  changed(SLIDING);
});
$("clear").addEventListener("click", () => {
  // A step of its own in the browser's history: going back undoes it.
  history.pushState(null, "", link.write({ ...state, items: [], text: "" }));
  restore();
  $("search").focus();
});
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    $("copy").textContent = "Link copied";
  } catch {
    // Browsers give no clipboard to plain http from elsewhere.
    $("copy").textContent = "Copy it from the address bar";
  }
  say($("copy").textContent);
  setTimeout(() => ($("copy").textContent = "Copy link"), SLOW);
});
$("go").addEventListener("click", go);
$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  unlock($("token").value.trim());
  start();
});
$("skip").addEventListener("click", (event) => {
  // The fragment is the state's.
  event.preventDefault();
  $("lists").focus();
});
window.addEventListener("hashchange", restore);
// Whoever comes back finds the data set that is shown, not the one that was chosen.
window.addEventListener("pageshow", drawRuns);
start();

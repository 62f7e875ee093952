// What the models answer, side by side.

import { make, signButton, titled } from "./elements.js";

const NAMES = {
  lstm: "LSTM",
  language_model: "Language model",
  fusion: "Fusion",
  rating_hybrid: "Rating hybrid",
};

/** A source in words. */
export const nameOf = (source) => NAMES[source];

/** Where a source stands among the others, from left to right. */
export const placeOf = (source) => Object.keys(NAMES).indexOf(source);

const AND = new Intl.ListFormat("en");

function stars(value) {
  return make(
    "span",
    { className: "stars" },
    make("span", { "aria-hidden": "true" }, `★ ${value.toFixed(1)}`),
    make("span", { className: "unseen" }, `${value.toFixed(1)} stars expected`),
  );
}

function row(item, others, { add, many }) {
  const facts = make("p", { className: "facts" });
  if (item.stars !== null) facts.append(stars(item.stars), " ");
  facts.append(item.genres.join(", "));
  const button = signButton("+", `Add ${item.title} to your ${many}`, () => add(item));
  const element = make("li", {}, titled(item), facts, button);
  if (item.explanation) element.append(make("p", { className: "why", dir: "auto" }, item.explanation));
  if (others.length) element.append(make("p", { className: "also" }, `Also from ${AND.format(others)}`));
  return element;
}

/**
 * Draw the answers.
 * @param {Object[]} answers `Answer` of the API, in the order of `asked`.
 * @param {string[]} asked the sources asked.
 * @param {Object[]} models `ModelOut` of the API.
 * @param {{add: function(Object), many: string}} look what a row's button does; items in the plural.
 * @returns {Node[]} one section for each answer.
 */
export function draw(answers, asked, models, look) {
  const named = answers.map((answer) => new Set(answer.recommendations.map((item) => item.item_id)));
  return answers.map((answer, place) => {
    const id = `list-${asked[place]}`;
    const also = (item) => asked.filter((_, other) => other !== place && named[other].has(item.item_id));
    const rows = answer.recommendations.map((item) => row(item, also(item).map(nameOf), look));
    const model = models.find(({ source }) => source === asked[place]);
    return make(
      "section",
      { "aria-labelledby": id },
      make("h3", { id }, nameOf(asked[place])),
      make("p", { className: "hint" }, model?.description ?? ""),
      make("p", { className: "note" }, answer.note),
      rows.length ? make("ol", {}, ...rows) : make("p", {}, "Nothing left to show."),
    );
  });
}

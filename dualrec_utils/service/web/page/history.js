// The items that somebody named, latest first, each with what moves or removes it.

import { make, signButton, titled } from "./elements.js";

const MOVES = [
  { action: "later", sign: "↑", step: 1 },
  { action: "earlier", sign: "↓", step: -1 },
];

/**
 * Draw the history anew and keep the focus on the button that was pressed.
 * @param {HTMLElement} list what holds it.
 * @param {Object[]} items oldest first, as the API takes them.
 * @param {{move: function(number, number), remove: function(number)}} edit from place to place; at a place.
 */
export function draw(list, items, { move, remove }) {
  const rows = items.map((item, place) => {
    const buttons = MOVES.map(({ action, sign, step }) => {
      const button = signButton(sign, `Move ${item.title} ${action === "later" ? "up" : "down"}`, () =>
        move(place, place + step),
      );
      button.dataset.action = action;
      button.disabled = !(place + step in items);
      return button;
    });
    buttons.push(signButton("×", `Remove ${item.title}`, () => remove(place)));
    return make("li", {}, titled(item), make("span", { className: "buttons" }, ...buttons));
  });
  // An answer may draw it while somebody is on their way from button to button.
  const pressed = list.contains(document.activeElement) && document.activeElement.ariaLabel;
  list.replaceChildren(...rows.reverse());
  if (pressed) [...list.querySelectorAll("button")].find((button) => button.ariaLabel === pressed)?.focus();
}

/** Put the focus on the button of a row, or on its other one where that cannot be pressed. */
export function focusMove(list, place, step) {
  const row = list.children[list.children.length - 1 - place];
  const { action } = MOVES.find((move) => move.step === step);
  const button = row.querySelector(`[data-action=${action}]:not(:disabled)`);
  (button ?? row.querySelector("[data-action]:not(:disabled)")).focus();
}

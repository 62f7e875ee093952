// Elements made of data. Data are set as text, never as markup: a title may hold anything.

/**
 * A new element.
 * @param {string} tag its name.
 * @param {Object} properties set on it: those with a dash or `role` as attributes, `onclick` as a listener.
 * @param {...(Node|string)} children in it, texts as text.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A title with its year, as the API reads whole titles. */
export const inFull = ({ title, year }) => (year ? `${title} (${year})` : title);

/** A title, and its year in a lighter tone where it has one. */
export function titled({ title, year }) {
  const parts = [make("span", { className: "title", dir: "auto" }, title)];
  if (year) parts.push(" ", make("span", { className: "year" }, String(year)));
  return make("span", { className: "titled" }, ...parts);
}

/** A button with a sign that is seen and a name that is read. */
export function signButton(sign, name, onclick) {
  return make(
    "button",
    { type: "button", className: "sign", "aria-label": name, onclick },
    make("span", { "aria-hidden": "true" }, sign),
  );
}

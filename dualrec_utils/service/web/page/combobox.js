// A field that suggests items: the ARIA pattern "editable combobox with list autocomplete".

import { newestOnly } from "./asking.js";
import { make, titled } from "./elements.js";

const WAIT = 80;

/**
 * Make a text field suggest.
 * @param {HTMLInputElement} input the field, with role combobox.
 * @param {HTMLElement} list its listbox.
 * @param {HTMLElement} line where it says how many were found; a live region.
 * @param {function(string, AbortSignal): Promise<Object[]>} search the items for what was typed.
 * @param {function(Object): void} choose called with the item that was picked.
 * @param {function(Error, function): void} fail called with what went wrong and what tries again.
 */
export function suggest(input, list, line, { search, choose, fail }) {
  const newest = newestOnly();
  let items = [];
  let active = -1;

  function mark(index) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = index;
    const option = list.children[active];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) input.setAttribute("aria-activedescendant", option.id);
    else input.removeAttribute("aria-activedescendant");
  }

  function show(found) {
    items = found;
    list.replaceChildren(
      ...items.map((item, index) => {
        const genres = make("span", { className: "genres" }, item.genres.join(", "));
        const onclick = () => pick(index);
        const looks = { role: "option", id: `option-${index}`, "aria-selected": "false", onclick };
        return make("li", looks, titled(item), genres);
      }),
    );
    list.hidden = items.length === 0;
    input.setAttribute("aria-expanded", String(items.length > 0));
    mark(-1);
  }

  function close() {
    // What is still being looked for would open the list again.
    newest(0, () => []).catch(() => {});
    line.textContent = "";
    show([]);
  }

  function pick(index) {
    const item = items[index];
    input.value = "";
    close();
    choose(item);
  }

  async function look() {
    const typed = input.value.trim();
    if (!typed) return close();
    try {
      const found = await newest(WAIT, (signal) => search(typed, signal));
      show(found);
      line.textContent = found.length
        ? `${found.length} found`
        : `Nothing here is called “${typed}”. Try fewer letters.`;
    } catch (error) {
      if (error.name !== "AbortError") fail(error, look);
    }
  }

  input.addEventListener("input", look);
  input.addEventListener("blur", close);
  // A press on an option must not take the focus from the field, which would close the list.
  list.addEventListener("mousedown", (event) => event.preventDefault());
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!items.length) return void look();
      const step = event.key === "ArrowDown" ? 1 : -1;
      // One place more than there are options: none marked, the field itself.
      const places = items.length + 1;
      mark(((active + 1 + step + places) % places) - 1);
    } else if (event.key === "Enter" && items.length) {
      event.preventDefault();
      pick(Math.max(active, 0));
    } else if (event.key === "Escape") {
      if (!items.length) input.value = "";
      close();
    }
  });
}

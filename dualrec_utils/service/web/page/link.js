// The state as the fragment of a link, which a browser keeps to itself: the server never sees it.

export const MOST_ITEMS = 500;
const LONGEST_TEXT = 2000, LONGEST_TITLE = 300;

/**
 * What a link says; what it gets wrong is left out, since anybody may have typed it.
 * @returns {{items: number[], titles: string[], text: string, models: string[], diversity: number}} items
 *   oldest first; titles as well: what another data set's page names, which has other ids.
 */
export function read(fragment) {
  const values = new URLSearchParams(fragment.replace(/^#/, ""));
  const listed = (name) => (values.get(name) ?? "").split(",").filter(Boolean);
  const ids = listed("items").filter((id) => /^[1-9]\d{0,9}$/.test(id));
  const diversity = Number(values.get("diversity"));
  return {
    items: [...new Set(ids.map(Number))].slice(-MOST_ITEMS),
    titles: values
      .getAll("title")
      .filter(Boolean)
      .slice(-MOST_ITEMS)
      .map((title) => title.slice(0, LONGEST_TITLE)),
    text: (values.get("text") ?? "").slice(0, LONGEST_TEXT),
    models: listed("models"),
    diversity: diversity >= 0 && diversity <= 1 ? diversity : 0,
  };
}

/** The fragment that {@link read} reads as this state. */
export function write({ items, titles, text, models, diversity }) {
  const values = new URLSearchParams();
  if (items.length) values.set("items", items.join(","));
  for (const title of titles) values.append("title", title);
  if (text) values.set("text", text);
  values.set("models", models.join(","));
  if (diversity) values.set("diversity", diversity);
  // Commas may stand in a fragment as they are.
  return `#${values}`.replaceAll("%2C", ",");
}

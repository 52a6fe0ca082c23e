// The page's behaviour: one query at a time (a photo, a recipe, or words), and ingredients that limit what it finds.
// What is found comes from source.js; what recipes say is written as text, never as HTML.

import * as source from "./source.js";

const $ = (id) => document.getElementById(id);
const make = (name, text = "", kind = "") => Object.assign(document.createElement(name), { textContent: text, className: kind });

let query = null; // {kind: "photo" | "recipe" | "text", value: File or string}
let running = null; // stops the request before
const ticked = new Map(); // ingredient → "with", "without" or ""

// Searching

async function search(next) {
  if (next) query = next;
  if (!query) return;
  running?.abort();
  const mine = (running = new AbortController());
  const wanted = { k: 12, with: chosen("with"), without: chosen("without"), explain: $("explain").checked };
  $("results").classList.add("busy");
  $("status").textContent = "Searching …";
  $("problem").hidden = true;
  try {
    const say = (text) => running === mine && ($("status").textContent = text);
    show(await source.search(query, wanted, mine.signal, say));
    if (next && narrow.matches) $("asked").scrollIntoView({ behavior: "smooth", block: "start" });
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
  } finally {
    if (running === mine) $("results").classList.remove("busy");
  }
}

function problem(text) {
  showAsked(null);
  $("results").replaceChildren();
  $("empty").hidden = true;
  $("status").textContent = "";
  $("problem").textContent = text[0].toUpperCase() + text.slice(1);
  $("problem").hidden = false;
}

// Showing what was found

function show(answer) {
  const count = answer.results.length;
  const what = answer.to === "recipes" || count === 0 ? "recipe" : "photo";
  const of = answer.candidates < answer.items ? `of ${number(answer.candidates)} that fit the ingredients` : `of ${number(answer.items)}`;
  const said = count ? `The ${count} nearest ${what}s, ${of}.` : "Nothing here fits the ingredients.";
  $("status").textContent = [said, ...answer.notes].join(" ");
  $("empty").hidden = true;
  showAsked(answer.query);
  $("results").classList.toggle("explained", answer.results.some((result) => result.generated));
  $("results").replaceChildren(...answer.results.map((result) => card(result, answer)));
}

const narrow = matchMedia("(max-width: 51.99rem)"); // as in page.css: the results stand below the form

function showAsked(read) {
  const box = $("asked");
  for (const image of box.querySelectorAll("img")) if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  box.replaceChildren();
  box.hidden = !query;
  if (!query) return;
  if (query.kind === "photo") {
    const image = make("img");
    image.alt = "Your photo";
    image.onerror = () => image.remove(); // a format that the browser does not show
    image.src = URL.createObjectURL(query.value);
    box.append(image);
  }
  for (const [source, caption, alt] of [
    [read?.generated, "as understood", "Picture generated from the embedding of your query"],
    [read?.heat_map, "where it looks", "Your photo, red where the model looks"],
  ]) {
    if (!source) continue;
    const figure = make("figure");
    figure.append(Object.assign(make("img"), { src: source, alt }), make("figcaption", caption));
    box.append(figure);
  }
  const words = make("div");
  words.append(make("div", { photo: "Your photo", recipe: "Your recipe", text: "Your words" }[query.kind], "kind"));
  const what = query.kind === "photo" ? query.name ?? query.value.name : read?.title ?? "";
  words.append(make("div", short(what || (read ? "A recipe without a title" : "")), "what"));
  if (read?.ingredients.length) words.append(make("div", short(read.ingredients.join(", ")), "kind"));
  box.append(words);
}

function card(result, answer) {
  const item = $("card").content.cloneNode(true), part = (selector) => item.querySelector(selector);
  const photo = part(".shot img");
  photo.src = result.thumbnail;
  photo.alt = `Photo of ${result.title}`;
  if (result.generated) {
    part(".made").hidden = false;
    part(".made img").src = result.generated;
  }
  part("h3").textContent = result.title || result.id;
  part(".distance").textContent = `${result.rank} · distance ${result.distance.toFixed(3)}`;
  part(".distance").title = `By ${answer.distance} distance: small means near.`;
  for (const { text, shared } of result.ingredients) {
    const line = make("li", "", shared ? "shared" : "");
    line.append(make(shared ? "mark" : "span", text));
    if (shared) line.append(make("span", " (in your query)", "hidden"));
    part(".ingredients").append(line);
  }
  for (const step of result.instructions) part(".steps ol").append(make("li", step));
  part(".steps").hidden = !result.instructions.length;
  part(".more").setAttribute("aria-label", `More like ${result.title}`);
  part(".more").onclick = async () => {
    const picture = await (await fetch(result.thumbnail)).blob();
    await search({ kind: "photo", value: new File([picture], "photo.jpg"), name: result.title });
    if (!narrow.matches) scrollTo({ top: 0 });
  };
  return item;
}

const number = (value) => value.toLocaleString("en");
const short = (text) => (text.length > 160 ? text.slice(0, 159) + "…" : text);

// Photos: chosen, taken, dropped, pasted

function byPhoto(file) {
  if (!file) return;
  $("words").value = "";
  search({ kind: "photo", value: file });
}

for (const id of ["photo", "camera"]) {
  $(id).onchange = () => {
    byPhoto($(id).files[0]);
    $(id).value = ""; // or the same photo could not be chosen again
  };
}

let inside = 0; // a drag enters and leaves every element that it passes
const curtain = (shown) => ($("curtain").hidden = !shown);
addEventListener("dragenter", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  curtain(++inside);
});
addEventListener("dragleave", () => curtain((inside = Math.max(inside - 1, 0))));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  curtain((inside = 0));
  const file = event.dataTransfer.files[0];
  if (!file) return; // words that are dragged into a field
  event.preventDefault();
  file.type.startsWith("image/") || /\.(heic|heif|avif)$/i.test(file.name) ? byPhoto(file) : byFile(file);
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  byPhoto(file);
});

// Recipes and words

function byFile(file) {
  if (file) search({ kind: "recipe", value: file });
}

$("query").onsubmit = (event) => {
  event.preventDefault();
  const words = $("words").value.trim();
  if (words) search({ kind: "text", value: words });
};
$("by-recipe").onclick = () => {
  const recipe = $("recipe").value.trim();
  recipe ? search({ kind: "recipe", value: recipe }) : $("recipe").focus();
};
$("recipe-file").onchange = () => {
  byFile($("recipe-file").files[0]);
  $("recipe-file").value = "";
};
$("explain").onchange = () => search();

// Ingredients

const chosen = (way) => [...ticked].filter(([, how]) => how === way).map(([name]) => name);

function showIngredients() {
  const focused = document.activeElement?.id;
  $("ingredients").replaceChildren(
    ...[...ticked].map(([name, how], row) => {
      const line = make("tr"), head = make("th", name);
      head.scope = "row";
      line.append(head);
      for (const way of ["with", "without"]) {
        const box = make("input", "", way), label = make("label"), cell = make("td");
        Object.assign(box, { type: "checkbox", checked: how === way, id: `${way}-${row}` });
        box.setAttribute("aria-label", `${way} ${name}`);
        box.onchange = () => {
          ticked.set(name, box.checked ? way : "");
          showIngredients();
          search();
        };
        label.append(box);
        cell.append(label);
        line.append(cell);
      }
      return line;
    }),
  );
  if (focused) $(focused)?.focus(); // the list was made anew
  const said = ["with", "without"].map((way) => [way, chosen(way)]);
  $("filtered").textContent = said.filter(([, names]) => names.length).map(([way, names]) => `${way} ${names.join(", ")}`).join("; ");
}

function addIngredient() {
  const name = $("ingredient").value.trim().toLowerCase();
  if (!/\p{L}/u.test(name)) return $("ingredient").focus();
  const rest = [...ticked].filter(([other]) => other !== name);
  ticked.clear();
  for (const [key, how] of [[name, "with"], ...rest]) ticked.set(key, how);
  $("ingredient").value = "";
  showIngredients();
  search();
}

$("add").onclick = addIngredient;
$("ingredient").onkeydown = (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  addIngredient();
};
let asking = 0;
$("ingredient").oninput = () => {
  clearTimeout(asking);
  asking = setTimeout(async () => {
    const names = await source.names($("ingredient").value.trim().slice(0, 100), 12);
    $("names").replaceChildren(...names.map(({ name }) => Object.assign(make("option"), { value: name })));
  }, 120);
};

// What can be done here

async function begin() {
  if (narrow.matches) $("filters").open = false;
  const [health, names] = await Promise.all([source.about(), source.names("", 8)]);
  const reads = health.searches.includes("text");
  $("about").textContent = `${number(health.items)} ${reads ? "recipes" : "photos"} · ${health.model} · ${health.index.dataset}`;
  document.querySelector(".panel.text").hidden = !reads;
  $("filters").hidden = !names.length;
  $("explain-line").hidden = !(health.generates || health.looks);
  for (const { name } of names) ticked.set(name, "");
  showIngredients();
}
begin().catch((error) => problem(error.message));

// Replies as images, texts and tables.
import { byId, imageUri, make, suffixOf, blobOf } from "./dom.js";
import { nameOf } from "./images.js";
import { say, speaks } from "./words.js";

const round = (value) => Number(value.toPrecision(4)).toString();

// Shows a partial image at the position of its candidate.
export function showPartial(box, { index, b64_json: data }) {
  box.className = "results images";
  let picture = box.querySelector(`[data-candidate="${index}"] img`);
  if (!picture) {
    picture = make("img");
    box.append(make("figure", { "data-candidate": index }, picture));
  }
  picture.src = imageUri(data);
  picture.alt = say("partial", { number: index + 1 });
}

// Shows the reply of a history entry. `actions` are the buttons of an image: {again, describeIt, redrawIt}.
export function showResult(box, entry, actions) {
  const { reply, values, images } = entry;
  box.className = `results ${reply.images ? "images" : "list"}`;
  if (reply.images) box.replaceChildren(...reply.images.map((image, index) => figure(entry, image, index, actions)));
  else if (reply.texts) box.replaceChildren(chosenFrom(reply.texts, values), texts(reply.texts));
  else if (reply.answer !== undefined) box.replaceChildren(make("p", { class: "answer", lang: "ru" }, reply.answer || say("empty")));
  else if (reply.scores) box.replaceChildren(classes(reply.scores));
  else {
    const items = values.direction === "rank_images" ? images.images : values.texts.split("\n").map((line) => line.trim()).filter(Boolean);
    box.replaceChildren(table("item", reply.ranking.map((one) => [items[one.index], one])));
  }
}

function figure(entry, image, index, actions) {
  const source = imageUri(image.b64_json);
  const name = entry.values.prompt;
  const candidates = Number(entry.values.candidates ?? 0);
  const isScored = image.score !== undefined && candidates > entry.reply.images.length;
  const rank = isScored ? say(index ? "placeOf" : "bestOf", { place: index + 1, count: candidates }) : null;
  const seed = say("seedIs", { seed: image.seed });
  const file = `${name.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}-${image.seed}.${suffixOf(source)}`;
  const enlarge = make("button", { type: "button", class: "enlarge", "aria-label": say("enlarge", { name }) }, make("img", { src: source, alt: name }));
  enlarge.addEventListener("click", () => view(source, name, `${name} · ${seed}`));
  const buttons = Object.entries(actions).map(([key, act]) =>
    make("button", { type: "button", class: "quiet", "data-action": key, onclick: () => act(image, source) }, say(key)));
  return make("figure", {}, enlarge,
    make("figcaption", {}, [rank, seed].filter(Boolean).join(" · ")),
    make("div", { class: "actions" }, download(source, file), ...buttons),
    isScored ? details(image) : null);
}

function download(source, file) {
  const link = make("a", { class: "button quiet", download: file, href: source }, say("download"));
  // A blob address: browsers refuse long data addresses.
  link.addEventListener("click", () => {
    link.href = URL.createObjectURL(blobOf(source));
    setTimeout(() => { URL.revokeObjectURL(link.href); link.href = source; }, 10_000);
  });
  return link;
}

const details = (image) =>
  make("details", {}, make("summary", {}, say("details")),
    make("p", { class: "hint" }, say("scores", { text: round(image.ppl_text), image: round(image.ppl_image) })));

function view(source, name, caption) {
  const dialog = byId("viewer");
  Object.assign(dialog.querySelector("img"), { src: source, alt: name });
  dialog.querySelector("p").textContent = caption;
  dialog.showModal();
}

// A click on the dark part around the image closes the view.
byId("viewer").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});

const texts = (found) =>
  make("ol", {}, ...found.map((one) => make("li", {}, make("span", { lang: "ru" }, one.text || say("empty")),
    one.count > 1 ? make("small", {}, ` ${say("times", { count: one.count })}`) : null)));

// How many candidates the texts were chosen from, if they were.
function chosenFrom(found, { n = 1, candidates = 0 }) {
  const isChosen = Number(candidates) > Number(n) && found[0]?.score !== undefined;
  return make("p", { class: "hint chosen", hidden: !isChosen }, say("bestTexts", { n, count: candidates }));
}

const classes = (scores) =>
  table("class", [...scores].sort((first, second) => first.score - second.score).map((one) => [one.class, one]));

// Results of earlier versions in the history have no probabilities.
const percent = ({ probability }) =>
  (probability === undefined ? "–" : probability.toLocaleString(speaks(), { style: "percent", maximumFractionDigits: 1 }));

// Rows of [text or image, {probability, score}], best first.
function table(title, rows) {
  const heads = ["place", title, "probability", "value"].map((key) => make("th", { scope: "col" }, say(key)));
  const body = rows.map(([item, one], index) => {
    const content = typeof item === "string" ? make("span", { lang: "ru" }, item) : make("img", { src: item.uri, alt: nameOf(item) });
    const name = item.isFile ? make("span", {}, item.name) : null;
    return make("tr", { class: index ? null : "best" }, make("td", {}, String(index + 1)), make("td", {}, content, name),
      make("td", {}, percent(one)), make("td", {}, round(one.score)));
  });
  return make("div", {}, make("p", { class: "hint" }, say("probabilityHint")), make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body)));
}

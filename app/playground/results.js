// Replies as pictures, texts and tables. Builds nodes from text only.

const make = (tag, text, children = []) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
};

const source = (base64) => `data:image/png;base64,${base64}`;
const round = (value) => Number(value.toPrecision(4)).toString();

// Pictures that are still growing stand at their candidate's place.
export function showPartial(box, { index, b64_json: data }) {
  box.className = "";
  let figure = box.querySelector(`[data-candidate="${index}"]`);
  if (!figure) {
    figure = make("figure", undefined, [make("img")]);
    figure.dataset.candidate = index;
    box.append(figure);
  }
  const picture = figure.querySelector("img");
  picture.src = source(data);
  picture.alt = "";
}

function pictures(box, reply, say) {
  box.append(...reply.images.map((image) => {
    const picture = make("img");
    picture.src = source(image.b64_json);
    picture.alt = `RuDOLPH, ${say("seed")} ${image.seed}`;
    const score = image.score === undefined ? "" : ` · ${say("ppl")}${round(image.score)}`;
    return make("figure", undefined, [picture, make("figcaption", `${say("seed")} ${image.seed}${score}`)]);
  }));
}

function table(box, rows, say) {
  const head = make("tr", undefined, [make("th", say("place")), make("th", say("item")), make("th", say("value"))]);
  const body = rows.map(([name, score], place) => {
    const row = make("tr", undefined, [make("td", place + 1), make("td", name), make("td", round(score))]);
    if (!place) row.className = "best";
    return row;
  });
  box.append(make("table", undefined, [head, ...body]));
}

function texts(box, reply, say) {
  box.append(make("ol", undefined, reply.texts.map((one) => {
    const count = one.count > 1 ? ` · ${one.count}${say("times")}` : "";
    return make("li", `${one.text || say("empty")}${count}`);
  })));
}

export function showResult(box, task, reply, names, say) {
  box.replaceChildren();
  box.className = reply.images ? "" : "list";
  if (reply.images) pictures(box, reply, say);
  else if (reply.texts) texts(box, reply, say);
  else if (reply.ranking) table(box, reply.ranking.map((one) => [names?.[one.index] ?? `#${one.index + 1}`, one.score]), say);
  else if (reply.scores) {
    table(box, [...reply.scores].sort((a, b) => a.score - b.score).map((one) => [one.class, one.score]), say);
  } else box.append(make("p", reply.answer));
}

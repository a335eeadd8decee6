// A form's content as the request of its task: {task, input, files}. `files` names the images of the input, for code.
import { Fault } from "./faults.js";
import { check, valuesOf } from "./form.js";

const SAMPLING = ["n", "candidates", "seed", "temperature", "top_k", "top_p", "guidance"];

const lines = (text = "") => text.split("\n").map((line) => line.trim()).filter(Boolean);

// Settings that the form leaves empty are left out: the model has its own values.
const settings = (values) =>
  Object.fromEntries(SAMPLING.filter((name) => name in values).map((name) => [name, Number(values[name])]));

const texts = (values, ...names) => Object.fromEntries(names.filter((name) => name in values).map((name) => [name, values[name]]));

const one = (fields) => {
  const [item] = fields.image.require();
  return item;
};

function classesOf(values) {
  const classes = lines(values.classes);
  if (classes.length < 2) throw new Fault("twoClasses", {}, "classes");
  const name = classes.find((item, index) => classes.indexOf(item) !== index);
  if (name) throw new Fault("sameClasses", { name }, "classes");
  if ((values.template ?? "").split("{}").length !== 2) throw new Fault("braces", {}, "template");
  return classes;
}

const BUILDERS = {
  draw: (values) => ({ task: "text2image", input: { prompt: values.prompt, ...settings(values) }, files: [] }),

  caption: (values, fields) => {
    const image = one(fields);
    return { task: "image2text", input: { image: image.uri, ...texts(values, "template"), ...settings(values) }, files: [["image", image]] };
  },

  classify: (values, fields) => {
    const image = one(fields);
    const classes = classesOf(values);
    return { task: "classify", input: { image: image.uri, classes, template: values.template }, files: [["image", image]] };
  },

  rank: (values, fields) => {
    if (values.direction === "rank_images") {
      const images = fields.images.require();
      const input = { text: values.text, images: images.map((item) => item.uri) };
      return { task: "rank_images", input, files: images.map((item) => ["images", item]) };
    }
    const image = one(fields);
    return { task: "rank_texts", input: { image: image.uri, texts: lines(values.texts) }, files: [["image", image]] };
  },

  continue: (values) => ({ task: "text2text", input: { prompt: values.prompt, ...settings(values) }, files: [] }),

  answer: (values, fields) => {
    const [image] = fields.image.items;
    const input = { question: values.question, ...(image ? { image: image.uri } : {}) };
    return { task: "answer", input, files: image ? [["image", image]] : [] };
  },

  redraw: async (values, fields, board) => {
    const item = one(fields);
    if (!board.bitmap) throw new Fault("fileDamaged", { name: item.name ?? "" }, "image");
    if (!board.cells.size) throw new Fault("nothingPainted", {}, "mask");
    const { image, mask, isOwn } = await board.parts();
    const input = { prompt: values.prompt, ...settings(values), image_prompt: { image, mask } };
    const shown = isOwn ? item : { uri: image };
    return { task: "text2image", input, files: [["image", shown], ["mask", { uri: mask, name: "mask.png" }]] };
  },
};

const SEEDED = ["text2image", "image2text", "text2text"];

// A number that the model and JavaScript both take, with room for the candidates' own seeds.
export const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

// Throws a Fault for a form that the server would refuse. `seed` is used where the form has none; null: none either.
export async function requestOf(tab, form, fields, board, seed) {
  check(form);
  const request = await BUILDERS[tab](valuesOf(form), fields, board);
  if (SEEDED.includes(request.task) && seed !== null) request.input.seed ??= seed;
  return request;
}

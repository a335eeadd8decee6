// A request as a curl line and as Python that run when they are pasted.
import { base64Of, suffixOf } from "./dom.js";

const ROUTES = { rank_images: "rank/images", rank_texts: "rank/texts" };
// The server may be below a path of its host.
const urlOf = (task) => new URL(`v1/${ROUTES[task] ?? task}`, document.baseURI).href;

const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

// Files of the person have their own names. All other images are written to a file first, from the command itself.
function named(files) {
  return files.map(([field, item], index) => {
    const isEmbedded = !item.isFile;
    const name = isEmbedded ? `${field === "mask" ? "mask" : `image-${index + 1}`}.${suffixOf(item.uri)}` : item.name;
    return { field, name, data: isEmbedded ? base64Of(item.uri) : null };
  });
}

// The fields of a form body: everything of the input but its images.
function formFields(input) {
  const { image, images, image_prompt: imagePrompt, ...plain } = input;
  return Object.entries(plain);
}

// True where the reply is one image, so that it can be written to a file.
const isOneImage = ({ task, input }) => task === "text2image" && (input.n ?? 1) === 1;

export function curlOf(request, hasKey) {
  const { task, input, files } = request;
  const images = named(files);
  const parts = [`curl ${urlOf(task)}`];
  if (hasKey) parts.push('-H "Authorization: Bearer $RUDOLPH_API_KEY"');
  if (isOneImage(request)) parts.push("-H 'Accept: image/png' -o picture.png");
  else if (task === "text2image") parts.push("-o pictures.json");
  if (images.length) {
    // curl reads a quoted file name, in which only " and \ are special.
    const file = (name) => `@"${name.replace(/["\\]/g, "\\$&")}"`;
    for (const { field, name } of images) parts.push(`-F ${quote(`${field}=${file(name)}`)}`);
    for (const [name, value] of formFields(input)) {
      for (const item of [value].flat()) parts.push(`--form-string ${quote(`${name}=${item}`)}`);
    }
  } else parts.push("-H 'Content-Type: application/json'", `-d ${quote(JSON.stringify(input))}`);
  const writes = images.filter(({ data }) => data).map(({ name, data }) => `echo ${data} | base64 -d > ${quote(name)}\n`);
  return writes.join("") + parts.join(" \\\n  ");
}

const literal = (value) => JSON.stringify(value);

function pythonBody({ input, files }) {
  const images = named(files);
  if (!images.length) return [`    json=${literal(input)},`];
  const open = ({ name, data }) => (data ? `base64.b64decode(${literal(data)})` : `open(${literal(name)}, "rb")`);
  const parts = images.map((image) => `        (${literal(image.field)}, (${literal(image.name)}, ${open(image)})),`);
  return ["    files=[", ...parts, "    ],", `    data=${literal(Object.fromEntries(formFields(input)))},`];
}

const PRINT = {
  text2image: [
    'for index, image in enumerate(reply.json()["images"]):',
    '    with open(f"picture-{index + 1}.png", "wb") as file:',
    '        file.write(base64.b64decode(image["b64_json"]))',
  ],
  image2text: ['for text in reply.json()["texts"]:', '    print(text["text"])'],
  text2text: ['for text in reply.json()["texts"]:', '    print(text["text"])'],
  classify: ['print(reply.json()["class"])'],
  answer: ['print(reply.json()["answer"])'],
  rank_images: ['print(reply.json()["ranking"])'],
  rank_texts: ['print(reply.json()["ranking"])'],
};

export function pythonOf(request, hasKey) {
  const { task, files } = request;
  const modules = [
    ...(task === "text2image" || files.some(([, item]) => !item.isFile) ? ["import base64"] : []), ...(hasKey ? ["import os"] : []),
  ];
  return [
    ...modules, ...(modules.length ? [""] : []), "import httpx  # pip install httpx", "",
    "reply = httpx.post(",
    `    ${literal(urlOf(task))},`,
    ...(hasKey ? ['    headers={"Authorization": "Bearer " + os.environ["RUDOLPH_API_KEY"]},'] : []),
    ...pythonBody(request),
    "    timeout=300,",
    ")",
    "reply.raise_for_status()",
    ...PRINT[task],
  ].join("\n");
}

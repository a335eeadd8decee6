// Hugging Face's client for JavaScript, with an address as its endpoint.

import assert from "node:assert";
import { InferenceClient } from "@huggingface/inference";
import { IGNORED, PICTURE, PICTURE_URI, URL, describes, isPng, refused, run, versionOf } from "./harness.mjs";

const picture = new Blob([PICTURE], { type: "image/png" });
const server = new InferenceClient("none").endpoint(URL);

async function draw() {
  const parameters = { width: 128, height: 128 };
  const image = await server.textToImage({ inputs: "клубника", parameters }, { outputType: "blob" });
  isPng(await image.arrayBuffer());
}

async function redraw() {
  const image = await server.imageToImage({ inputs: picture, parameters: { prompt: "клубника" } });
  isPng(await image.arrayBuffer());
}

async function classify() {
  const parameters = { candidate_labels: ["банан", "сова на зелёном фоне"] };
  const found = await server.zeroShotImageClassification({ inputs: { image: picture }, parameters });
  assert.equal(found[0].label, "сова на зелёном фоне");
}

const question = () =>
  refused(
    () => server.visualQuestionAnswering({ inputs: { image: picture, question: "Кто это?" } }),
    "unsupported_task",
  );

async function complete() {
  assert.ok((await server.textGeneration({ inputs: "морда", parameters: { max_new_tokens: 8 } })).generated_text);
}

async function chat() {
  const content = [
    { type: "text", text: "Describe this image in one sentence." },
    { type: "image_url", image_url: { url: PICTURE_URI } },
  ];
  const reply = await server.chatCompletion({ messages: [{ role: "user", content }] });
  describes(reply.choices[0].message.content);
  return IGNORED;
}

await run(`@huggingface/inference ${versionOf("@huggingface/inference")}`, {
  "textToImage": draw,
  "imageToImage": redraw,
  "zeroShotImageClassification": classify,
  "visualQuestionAnswering": question,
  "textGeneration": complete,
  "chatCompletion": chat,
});

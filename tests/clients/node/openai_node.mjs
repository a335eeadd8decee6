// The official `openai` package for Node.

import assert from "node:assert";
import OpenAI, { toFile } from "openai";
import { BASE, IGNORED, PICTURE, PICTURE_URI, describes, isPng, refused, run, versionOf } from "./harness.mjs";

const client = new OpenAI({ baseURL: BASE, apiKey: "none", maxRetries: 0 });
const messages = [
  {
    role: "user",
    content: [
      { type: "text", text: "What's in this image?" },
      { type: "image_url", image_url: { url: PICTURE_URI } },
    ],
  },
];

async function generate() {
  const reply = await client.images.generate({ model: "rudolph", prompt: "клубника", size: "1024x1024" });
  isPng(reply.data[0].b64_json);
}

async function generateStream() {
  const stream = await client.images.generate({ prompt: "клубника", stream: true, partial_images: 2 });
  const types = [];
  for await (const event of stream) types.push(event.type.split(".")[1]);
  assert.deepEqual(types, ["partial_image", "partial_image", "completed"]);
}

async function edit() {
  const image = await toFile(PICTURE, "картинка.png", { type: "image/png" });
  const reply = await client.images.edit({ image, prompt: "клубника" });
  isPng(reply.data[0].b64_json);
}

async function chat() {
  const reply = await client.chat.completions.create({ model: "rudolph", messages });
  describes(reply.choices[0].message.content);
  return IGNORED;
}

async function chatStream() {
  let text = "";
  const stream = await client.chat.completions.create({ model: "rudolph", messages, stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  describes(text);
}

async function complete() {
  const reply = await client.completions.create({ model: "rudolph", prompt: "морда", max_tokens: 8 });
  assert.ok(reply.choices[0].text);
}

async function responses() {
  const content = [
    { type: "input_text", text: "what's in this image?" },
    { type: "input_image", image_url: PICTURE_URI },
  ];
  const reply = await client.responses.create({ model: "rudolph", input: [{ role: "user", content }] });
  describes(reply.output_text);
  return IGNORED;
}

async function responsesDraw() {
  const tools = [{ type: "image_generation", partial_images: 2 }];
  const stream = await client.responses.create({ model: "rudolph", input: "клубника", tools, stream: true });
  const images = [];
  for await (const event of stream) {
    if (event.type === "response.image_generation_call.partial_image") images.push(event.partial_image_b64);
    if (event.type === "response.completed") images.push(event.response.output[0].result);
  }
  assert.equal(images.length, 3);
  images.forEach(isPng);
}

const tools = () =>
  refused(() => {
    const tool = { type: "function", function: { name: "weather", parameters: { type: "object" } } };
    return client.chat.completions.create({ model: "rudolph", messages, tools: [tool] });
  }, "unsupported_parameter");

await run(`openai (Node) ${versionOf("openai")}`, {
  "images.generate with size": generate,
  "images.generate, streamed": generateStream,
  "images.edit without mask": edit,
  "chat.completions, text and image": chat,
  "chat.completions, streamed": chatStream,
  "completions": complete,
  "responses, text and image": responses,
  "responses with image_generation, streamed": responsesDraw,
  "tools": tools,
});

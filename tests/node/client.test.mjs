// OpenAI's own client for JavaScript, unmodified, against a gateway of the mesh.
//
// Where the gateway is and which key it wants comes in the client's own environment variables.
// Behind it: `spark`, which talks, calls tools and writes JSON; `embedder`; and `scripted`, which
// counts without end.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { test } from "node:test";

import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

const QUESTION = "Repeat after me: velmor dandok";
const SAID = "velmor dandok";
const spark = (content) => ({ model: "spark", messages: [{ role: "user", content }] });
const Person = z.object({ name: z.string(), age: z.number().int() });
const ANNA = "Anna is 34 years old. Return name and age as JSON.";
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the weather of a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
    },
  },
};

/** Returns what a call was refused with. */
async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  assert.fail("was not refused");
}

/** Returns what an asynchronous iterable yields. */
async function all(iterable) {
  const found = [];
  for await (const each of iterable) found.push(each);
  return found;
}

test("a whole answer has its text, its end and true counts", async () => {
  const { data, response, request_id } = await client.chat.completions
    .create(spark(QUESTION))
    .withResponse();

  assert.equal(data.choices[0].message.content, SAID);
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert.equal(response.headers.get("x-mesh-tier"), "edge");
  assert.equal(request_id, response.headers.get("x-request-id"));
  assert.equal(data._request_id, request_id);
});

test("a stream brings the role once, all of the text, and the usage at the end", async () => {
  const chunks = await all(
    await client.chat.completions.create({
      ...spark(QUESTION),
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const choices = chunks.flatMap((chunk) => chunk.choices);

  assert.equal(choices.map(({ delta }) => delta.content ?? "").join(""), SAID);
  assert.deepEqual(
    choices.flatMap(({ delta }) => delta.role ?? []),
    ["assistant"],
  );
  assert.equal(choices.at(-1).finish_reason, "stop");
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
});

test("the stream helper gathers the same answer and tells its events", async () => {
  const told = [];
  const stream = client.chat.completions
    .stream(spark(QUESTION))
    .on("content", (delta) => told.push(delta));
  const answer = await stream.finalChatCompletion();

  assert.equal(answer.choices[0].message.content, SAID);
  assert.equal(told.join(""), SAID);
  assert.equal(await stream.finalContent(), SAID);
});

test("a tool is called, whole and streamed alike", async () => {
  const asked = { ...spark("What is the weather in Paris?"), tools: [WEATHER] };
  const whole = await client.chat.completions.create(asked);
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();

  for (const { choices } of [whole, streamed]) {
    const [call] = choices[0].message.tool_calls;
    assert.equal(choices[0].finish_reason, "tool_calls");
    assert.equal(call.function.name, "get_weather");
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
    assert.ok(call.id);
  }
});

test("runTools calls the function and gives its result to the model", async () => {
  const cities = [];
  const runner = client.chat.completions.runTools({
    ...spark("What is the weather in Paris?"),
    tools: [
      zodFunction({
        name: "get_weather",
        description: "Get the weather of a city",
        parameters: z.object({ city: z.string() }),
        function: ({ city }) => {
          cities.push(city);
          return { weather: "sunny" };
        },
      }),
    ],
  });

  assert.match(await runner.finalContent(), /sunny/);
  assert.deepEqual(cities, ["Paris"]);
});

test("a structured answer is parsed", async () => {
  const answer = await client.chat.completions.parse({
    ...spark(ANNA),
    response_format: zodResponseFormat(Person, "person"),
  });

  assert.deepEqual(answer.choices[0].message.parsed, { name: "Anna", age: 34 });
});

test("a bad parameter is a BadRequestError that names it", async () => {
  const error = await refusal(
    client.chat.completions.create({ ...spark("hello"), temperature: 9 }),
  );

  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.deepEqual([error.status, error.param], [400, "temperature"]);
  assert.equal(error.type, "invalid_request_error");
  assert.ok(error.requestID);
});

test("an unknown model is a NotFoundError", async () => {
  const error = await refusal(
    client.chat.completions.create({ ...spark("hello"), model: "gpt-nobody" }),
  );

  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.deepEqual([error.code, error.param], ["model_not_found", "model"]);
});

test("a wrong key is an AuthenticationError", async () => {
  const stranger = client.withOptions({ apiKey: "sk-wrong" });
  const error = await refusal(stranger.models.list());

  assert.ok(error instanceof OpenAI.AuthenticationError);
  assert.equal(error.code, "invalid_api_key");
});

test("the client's own time-out is a deadline of the mesh", async () => {
  const hasty = client.withOptions({ timeout: 300 });
  const error = await refusal(
    hasty.chat.completions.create({ ...spark("count"), model: "scripted" }),
  );

  assert.ok(error instanceof OpenAI.APIError);
  await idle();
});

test("a stream that is left frees its slot", async () => {
  const stream = await client.chat.completions.create({
    ...spark("count"),
    model: "scripted",
    stream: true,
  });
  for await (const _ of stream) break;

  await idle();
});

test("embeddings come as numbers, also where the client asks for base64", async () => {
  const asked = { model: "embedder", input: ["one", "two"] };
  const [packed, plain] = await Promise.all([
    client.embeddings.create(asked),
    client.embeddings.create({ ...asked, encoding_format: "float" }),
  ]);

  assert.equal(packed.data.length, 2);
  for (const [index, { embedding }] of packed.data.entries()) {
    const other = plain.data[index].embedding;
    assert.equal(embedding.length, other.length);
    assert.ok(embedding.every((value, place) => Math.abs(value - other[place]) < 1e-5));
  }
});

test("models are listed and found by name", async () => {
  const names = (await all(client.models.list())).map(({ id }) => id);
  const { id, object } = await client.models.retrieve("spark");

  assert.deepEqual(names.toSorted(), ["embedder", "scripted", "spark"]);
  assert.deepEqual([id, object], ["spark", "model"]);
});

test("a response is made, kept, continued and deleted", async () => {
  const first = await client.responses.create({ model: "spark", input: QUESTION });
  const kept = await client.responses.retrieve(first.id);
  const second = await client.responses.create({
    model: "spark",
    input: QUESTION,
    previous_response_id: first.id,
  });
  const { data } = await client.responses.inputItems.list(first.id);
  await client.responses.delete(first.id);

  assert.equal(first.output_text, SAID);
  assert.deepEqual(kept.output, first.output);
  assert.equal(second.previous_response_id, first.id);
  assert.equal(data[0].content[0].text, QUESTION);
  assert.equal((await refusal(client.responses.retrieve(first.id))).status, 404);
});

test("a response is streamed, and its helper gathers it", async () => {
  const types = [];
  const stream = client.responses
    .stream({ model: "spark", input: QUESTION })
    .on("event", ({ type }) => types.push(type));
  const response = await stream.finalResponse();

  assert.equal(response.output_text, SAID);
  assert.equal(types[0], "response.created");
  assert.equal(types.at(-1), "response.completed");
});

test("a response in the background is left and taken up again", async () => {
  const asked = { model: "spark", input: QUESTION, background: true, stream: true };
  const events = [];
  for await (const event of await client.responses.create(asked)) {
    events.push(event);
    if (events.length === 3) break;
  }
  const rest = await client.responses.retrieve(events[0].response.id, {
    stream: true,
    starting_after: events.at(-1).sequence_number,
  });
  events.push(...(await all(rest)));

  assert.deepEqual(
    events.map((event) => event.sequence_number),
    [...events.keys()],
  );
  assert.equal(events.at(-1).type, "response.completed");
  assert.equal(events.at(-1).response.output[0].content[0].text, SAID);
});

test("a structured response is parsed", async () => {
  const response = await client.responses.parse({
    model: "spark",
    input: ANNA,
    text: { format: zodTextFormat(Person, "person") },
  });

  assert.deepEqual(response.output_parsed, { name: "Anna", age: 34 });
});

/** Returns when the gateway has no request in flight any more. */
async function idle() {
  for (let tries = 0; tries < 500; tries += 1) {
    const metrics = await (await fetch(new URL("/metrics", client.baseURL))).text();
    if (/^mesh_requests_in_flight 0\.0$/m.test(metrics)) return;
    await pause(20);
  }
  assert.fail("a request is still in flight");
}

// The snapshots, over fetch: unlike EventSource it can send an API key.

const KEY = "mesh-api-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export const authorization = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

export class Unauthorized extends Error {}

// Yields the data of each event of a response; comments are passed over.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Follows the gateway for as long as the page is visible, and comes back when it was lost.
export async function follow({ onSnapshot, onState, askForKey }) {
  for (let pause = 1; ; pause = Math.min(pause * 2, 10)) {
    await visible();
    const leaving = new AbortController();
    const leave = () => document.hidden && leaving.abort();
    document.addEventListener("visibilitychange", leave);
    try {
      const response = await fetch("/dashboard/events", {
        headers: authorization(), signal: leaving.signal, cache: "no-store",
      });
      if (response.status === 401) throw new Unauthorized();
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      for await (const data of events(response)) {
        pause = 1;
        onSnapshot(JSON.parse(data));
      }
    } catch (error) {
      if (error instanceof Unauthorized) {
        await askForKey();
        pause = 0.5;
        continue;
      }
    } finally {
      document.removeEventListener("visibilitychange", leave);
    }
    if (document.hidden) { pause = 0.5; continue; }
    onState("lost");
    await new Promise((wake) => setTimeout(wake, pause * 1000));
  }
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });
}

// Requests to the API, and who of several may answer.

const ROOT = new URL("api/v1/", document.baseURI);

/** What the API or the network says went wrong, in a sentence that the page can show. */
export class Trouble extends Error {}

/** The server wants a token, or another one. */
export class Locked extends Trouble {}

/** Send this token from now on, until the tab is closed. */
export const unlock = (token) => sessionStorage.setItem("token", token);

/**
 * One answer of the API, as the object that its JSON says.
 * @param {string} path such as "items", below the prefix.
 * @param {{query?: Object, body?: Object, signal?: AbortSignal}} request with a body it is a POST.
 * @throws {Trouble} for an error of the API or the network, {@link Locked} for want of a token; an AbortError where `signal` says so.
 */
export async function ask(path, { query = {}, body, signal } = {}) {
  const url = new URL(path, ROOT);
  url.search = new URLSearchParams(query);
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Trouble("The server does not answer.");
  }
  if (response.ok) return response.json();
  // An error is a problem detail, unless something between here and the API wrote it.
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Locked(problem.detail);
  throw new Trouble(problem.detail || `The server could not answer (error ${response.status}).`);
}

/**
 * A function that runs jobs of which only the newest ends: it aborts the one before, also while that one
 * still waits, so that an older answer is never seen after a newer one.
 * @returns {function(number, function(AbortSignal): Promise): Promise} takes milliseconds to wait for a
 *   newer job, and the job; rejects with an AbortError once there is a newer one.
 */
export function newestOnly() {
  let latest = new AbortController();
  return async (wait, job) => {
    latest.abort();
    latest = new AbortController();
    const { signal } = latest;
    await new Promise((resolve) => setTimeout(resolve, wait));
    signal.throwIfAborted();
    const answer = await job(signal);
    signal.throwIfAborted();
    return answer;
  };
}

// The panel's HTTP API. An error has the sentence that the server gave.
export let me = { name: "", role: "anonymous", csrf: "", needs_login: false };
let changed = () => {};
export const onMe = (listener) => (changed = listener);
export const isOperator = () => me.role === "operator";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && me.csrf) headers["X-CSRF-Token"] = me.csrf;
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  const answer = await fetch(`/api/v1/${path}`, options);
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = { detail: text.slice(0, 200) };
  }
  if (answer.ok) return value;
  // The session is over: show what is left to see without it.
  if (answer.status === 401 && path !== "login" && path !== "me") await loadMe();
  const detail = typeof value?.detail === "string" ? value.detail : `${answer.status} ${answer.statusText}`;
  throw new ApiError(answer.status, detail);
}

export const get = (path) => request("GET", path);
export const post = (path, body = {}) => request("POST", path, body);
export const put = (path, body) => request("PUT", path, body);
export const remove = (path) => request("DELETE", path);

export async function loadMe() {
  me = await get("me");
  changed();
  return me;
}

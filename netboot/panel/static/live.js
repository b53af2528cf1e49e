// The room in memory: loaded once, then patched by the server's stream of events.
import { get, loadMe, me } from "./api.js";

// down: since when the panel does not answer, in seconds since 1970; 0: it does.
export const room = { seats: new Map(), servers: new Map(), plan: [], number: 0, loaded: false, down: 0 };
const RETRY_MS = 2000;
const STALE_MS = 30000;
const listeners = new Set();
let source = null;
let timer = 0;
let heard = 0;
let offset = 0; // of the server's clock to this one, in seconds

export const now = () => Date.now() / 1000 + offset;

// Call `listener(change)` after each change; return what ends that.
// change: all, plan: true if so; seats: rows; gone: MAC addresses; servers; events.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(change) {
  for (const listener of [...listeners]) listener({ seats: [], gone: [], servers: [], events: [], ...change });
}

export async function load() {
  const view = await get("room");
  offset = view.server_time - Date.now() / 1000;
  room.number = view.number;
  room.plan = view.plan ?? [];
  room.seats = new Map(view.seats.map((seat) => [seat.mac, seat]));
  room.servers = new Map(view.servers.map((server) => [server.name, server]));
  room.loaded = true;
  room.down = 0;
  tell({ all: true });
}

export function apply(patch) {
  if (patch.number < room.number) return start();
  room.number = patch.number;
  for (const seat of patch.seats ?? []) room.seats.set(seat.mac, seat);
  for (const mac of patch.gone ?? []) room.seats.delete(mac);
  for (const server of patch.servers ?? []) room.servers.set(server.name, server);
  if (patch.plan) room.plan = patch.plan;
  tell({ ...patch, plan: Boolean(patch.plan) });
}

function connect() {
  source?.close();
  source = new EventSource(`/api/v1/stream?after=${room.number}`);
  source.onopen = () => {
    heard = Date.now();
    if (!room.down) return;
    room.down = 0;
    tell({});
  };
  source.addEventListener("patch", (event) => {
    heard = Date.now();
    apply(JSON.parse(event.data));
  });
  source.addEventListener("reload", start);
  // The browser's own retry would ask for changes after the number of the first connection.
  source.onerror = failed;
}

function failed() {
  source?.close();
  source = null;
  if (!room.down) {
    room.down = Date.now() / 1000;
    tell({});
  }
  clearTimeout(timer);
  timer = setTimeout(again, RETRY_MS);
}

async function again() {
  try {
    await loadMe();
    if (me.needs_login) return;
    if (room.loaded) connect();
    else await start();
  } catch {
    failed();
  }
}

// Load the room, and follow it.
export async function start() {
  source?.close();
  source = null;
  clearTimeout(timer);
  try {
    await load();
    connect();
  } catch (error) {
    if (!me.needs_login) failed();
  }
}

export function stop() {
  source?.close();
  source = null;
  clearTimeout(timer);
}

// A phone that slept has lost the connection and does not know.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && source && Date.now() - heard > STALE_MS) start();
});

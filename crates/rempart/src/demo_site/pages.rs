//! The demo site's page and picture.
//!
//! Text only; nothing is loaded from elsewhere, so the demo works without a network. Called by [`super`].

/// The front page: what the demo shows, with something to try on each protocol.
pub(super) const INDEX: &str = r##"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Behind Rempart</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
img { float: right; width: 9rem; margin: 0 0 1rem 1rem }
pre { background: #f3f3f0; padding: .6rem; overflow: auto; max-height: 12rem; font-size: 13px }
button, input { font: inherit }
h2 { font-size: 1.1rem; margin-top: 1.6rem; clear: none }
</style>
<img src="/picture.svg" alt="A wall between visitors and a house">
<h1>This page came through Rempart</h1>
<p>A small site runs in a process of its own. It listens on a Unix socket and nowhere else, so whatever
you see here passed the node in front of it, and your browser spoke
<strong id="protocol">…</strong> with it.</p>

<h2>What the site saw</h2>
<p>The node adds who you are and how you came, and removes what concerns one connection only.</p>
<pre id="headers">…</pre>

<h2>Server-sent events</h2>
<p>One a second, each passed on the moment it comes.</p>
<pre id="events"></pre>

<h2>WebSocket</h2>
<form id="say"><input name="text" value="hello" aria-label="What to say">
<button>Send over WebSocket</button></form>
<pre id="said"></pre>

<h2>A form</h2>
<form method="post" action="/echo" enctype="text/plain">
<input name="message" value="a message" aria-label="A message">
<button>Send and see it come back</button></form>

<script>
const show = (id, text) => { document.getElementById(id).textContent = text };
const add = (id, line) => {
  const place = document.getElementById(id);
  place.textContent = (place.textContent + line + "\n").split("\n").slice(-9).join("\n");
};
const entry = performance.getEntriesByType("navigation")[0];
const names = { "h3": "HTTP/3", "h2": "HTTP/2", "http/1.1": "HTTP/1.1" };
show("protocol", names[entry && entry.nextHopProtocol] || "HTTP");
fetch("/headers").then(r => r.text()).then(text => show("headers", text)).catch(e => show("headers", e));
const events = new EventSource("/events");
events.onmessage = e => add("events", e.data);
const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws");
socket.onopen = () => add("said", "(open)");
socket.onmessage = e => add("said", "back: " + e.data);
socket.onclose = () => add("said", "(closed)");
document.getElementById("say").onsubmit = e => { e.preventDefault(); socket.send(e.target.text.value) };
</script>
</html>
"##;

/// A picture, as an image with validators: a wall between visitors and a house.
pub(super) const PICTURE: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 180 120">
<rect width="180" height="120" fill="#eef3f6"/>
<g fill="#7a8b99"><circle cx="20" cy="30" r="6"/><circle cx="14" cy="60" r="6"/>
<circle cx="22" cy="90" r="6"/></g>
<g stroke="#7a8b99" stroke-width="2"><path d="M30 30H70M24 60H70M32 90H70"/></g>
<g fill="#b5533c" stroke="#eef3f6" stroke-width="2"><path d="M72 14h24v14H72zM72 28h12v14H72zM84 28h12v14H84z
M72 42h24v14H72zM72 56h12v14H72zM84 56h12v14H84zM72 70h24v14H72zM72 84h12v14H72zM84 84h12v14H84z
M72 98h24v14H72z"/></g>
<path d="M98 60H122" stroke="#3b7a57" stroke-width="3"/>
<path d="M124 58l22-20 22 20v36h-44z" fill="#3b7a57"/>
<rect x="140" y="70" width="12" height="24" fill="#eef3f6"/>
</svg>
"##;

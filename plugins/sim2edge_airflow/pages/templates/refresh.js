// Refresh the page in place: fetch it again, and change only what differs, so that scroll, focus, selection, an opened
// <details> and what somebody is typing stay. Can be switched off, rests while the tab is hidden, and says in a live
// region when it fails.
const EVERY_MS = 10000
const PATIENCE_MS = 15000
const REMEMBERED = "sim2edge.refresh"
const control = document.getElementById("refresh")
const status = document.getElementById("refresh-status")
let timer = null
let failures = 0
let busy = false
let refreshed = new Date()

function isOn() {
  try { return localStorage.getItem(REMEMBERED) !== "off" } catch { return true } // storage is off: refresh anyway
}

function remember(on) {
  try { localStorage.setItem(REMEMBERED, on ? "on" : "off") } catch { /* storage is off: until the next page */ }
}

function say(text) {
  if (status.textContent !== text) status.textContent = text
}

function schedule() {
  clearTimeout(timer)
  if (control.checked && !document.hidden) timer = setTimeout(refresh, EVERY_MS * Math.min(1 + failures, 6))
}

async function fetchPage() {
  const answer = await fetch(location.href, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) })
  const type = answer.headers.get("Content-Type") || ""
  if (answer.status === 401) throw new Error("you are logged out of Airflow: reload the page to log in")
  if (!answer.ok || !type.startsWith("text/html")) throw new Error(`the server answered ${answer.status}`)
  return new DOMParser().parseFromString(await answer.text(), "text/html")
}

async function refresh() {
  if (busy) return
  busy = true
  try {
    const page = await fetchPage()
    const [from, to] = [page.querySelector("main"), document.querySelector("main")]
    if (!from) throw new Error("the server answered with another page")
    showTimes(page)
    const focused = document.activeElement
    morph(to, from)
    morph(document.querySelector(".age"), page.querySelector(".age"))
    letScroll()
    if (focused && !focused.isConnected) to.focus({ preventScroll: true })
    failures = 0
    refreshed = new Date()
    say("")
  } catch (error) {
    failures += 1
    const why = error instanceof TypeError || error.name === "TimeoutError" ? "the server does not answer" : error.message
    const since = refreshed.toLocaleTimeString("en-GB", { timeZone: chosenZone() || undefined, timeZoneName: "short" })
    say(`Not refreshed since ${since}: ${why}.`)
  }
  busy = false
  schedule()
}

// What a person has begun in a form stays as it is until they are done with it.
function inUse(element) {
  if (element.nodeName !== "FORM") return false
  if (element.contains(document.activeElement)) return true
  return [...element.elements].some((field) =>
    field.matches("select") ? [...field.options].some((option) => option.selected !== option.defaultSelected && field.value !== "")
      : field.matches("[type=checkbox], [type=radio]") ? field.checked !== field.defaultChecked
        : "defaultValue" in field && field.value !== field.defaultValue)
}

function sameKind(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other)
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : ""
}

function morph(to, from) {
  if (!to || !from || inUse(to)) return
  morphAttributes(to, from)
  const keyed = new Map([...to.children].map((child) => [keyOf(child), child]).filter(([key]) => key))
  let next = to.firstChild
  const drop = () => { const gone = next; next = next.nextSibling; gone.remove() }
  const wanted = [...from.childNodes]
  for (const [index, child] of wanted.entries()) {
    while (next && isGone(next, child, wanted.slice(index + 1))) drop()
    const known = keyOf(child) ? keyed.get(keyOf(child)) : next && !keyOf(next) ? next : null
    if (known && sameKind(known, child)) {
      if (known === next) next = next.nextSibling
      else to.insertBefore(known, next)
      if (known.nodeType === Node.ELEMENT_NODE) morph(known, child)
      else if (known.nodeValue !== child.nodeValue) known.nodeValue = child.nodeValue
    } else to.insertBefore(document.importNode(child, true), next)
  }
  while (next) drop()
}

function morphAttributes(to, from) {
  for (const { name, value } of from.attributes)
    if (name !== "open" && to.getAttribute(name) !== value) to.setAttribute(name, value) // open: the reader's choice
  for (const { name } of [...to.attributes]) if (name !== "open" && !from.hasAttribute(name)) to.removeAttribute(name)
}

// Whether a node has no counterpart any more; white space between elements is not worth keeping.
function isGone(node, child, rest) {
  if (sameKind(node, child)) return false
  if (keyOf(node)) return !rest.some((other) => keyOf(other) === keyOf(node))
  const blank = node.nodeType === Node.TEXT_NODE && !node.nodeValue.trim()
  return blank || !rest.some((other) => sameKind(node, other))
}

if (control) {
  control.checked = isOn()
  control.closest("label").hidden = false
  control.addEventListener("change", () => { remember(control.checked); say(""); control.checked ? refresh() : schedule() })
  document.addEventListener("visibilitychange", () => { if (!document.hidden && control.checked) refresh(); else schedule() })
  schedule()
}

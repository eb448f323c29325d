// Show times in the time zone that the reader has chosen in Airflow's UI. Airflow keeps it in the browser (key
// "timezone", as JSON); without a choice the server's text stays, in the zone of [core] default_timezone.
function chosenZone() {
  try {
    const zone = JSON.parse(localStorage.getItem("timezone"))
    return typeof zone === "string" && new Intl.DateTimeFormat("en", { timeZone: zone }) ? zone : null
  } catch { return null } // nothing stored, no zone of this name, or storage is off
}

function showTimes(root) {
  const zone = chosenZone()
  if (!zone) return
  const style = { timeZone: zone, hourCycle: "h23", timeZoneName: "short", year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit" }
  const format = new Intl.DateTimeFormat("en-GB", style)
  for (const element of root.querySelectorAll("time[data-shows=moment], time[data-shows=date]")) {
    const then = new Date(element.dateTime)
    if (isNaN(then)) continue
    const part = Object.fromEntries(format.formatToParts(then).map(({ type, value }) => [type, value]))
    const date = `${part.year}-${part.month}-${part.day}`
    const text = element.dataset.shows === "date" ? date : `${date} ${part.hour}:${part.minute}:${part.second} ${part.timeZoneName}`
    if (element.textContent !== text) element.textContent = text
  }
}

showTimes(document)
window.addEventListener("storage", (event) => { if (event.key === "timezone") showTimes(document) })

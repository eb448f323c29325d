// Airflow shows these pages in a sandboxed frame that may not open windows: the parent page follows outgoing links.
// The frame also adopts the parent's light or dark colour scheme.
if (window.parent !== window) {
  const outside = window.parent.document
  const dark = () => outside.documentElement.classList.contains("dark")
  const follow = () => { document.documentElement.style.colorScheme = dark() ? "dark" : "light" }
  follow()
  new MutationObserver(follow).observe(outside.documentElement, { attributes: true, attributeFilter: ["class"] })
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[target]")
    if (!link || !/^https?:$/.test(link.protocol)) return
    event.preventDefault()
    const copy = outside.createElement("a")
    copy.href = link.href
    copy.target = link.target === "_blank" ? "_blank" : "_self"
    copy.rel = "noopener"
    outside.body.append(copy)
    copy.click()
    copy.remove()
  })
}

// A table that is wider than the window can be scrolled by the keyboard, also if nothing in it takes the focus.
function letScroll() {
  for (const box of document.querySelectorAll(".scroll, pre")) {
    const needed = box.scrollWidth > box.clientWidth && !box.querySelector("a:not([tabindex='-1']), button, input, select, summary")
    if (needed) box.tabIndex = 0
    else box.removeAttribute("tabindex")
  }
}

letScroll()
window.addEventListener("resize", letScroll)

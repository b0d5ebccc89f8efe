// Runs before the first paint, so that nobody sees the other theme flash by. Must stay tiny: it holds up the page.
{
  let theme = null
  try {
    theme = localStorage.getItem('panel.theme')
  } catch {
    // Storage may be forbidden, as in a foreign frame; the system's theme it is.
  }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
}

// Package statuspage is the page that tells a person how an instance is: its state and
// why, what to do, and its recent past. It turns api.Status, the fleet and the audit into
// HTML, and knows neither where they come from nor how they are served.
//
// Each part of the page is a template of its own. A script (webui/assets/live.js) replaces
// the parts that have changed, as Parts gives them; without the script the browser loads
// the page again from time to time.
//
//   - page.go: the page and its parts;
//   - state.go, advice.go: the state, why, and what to do;
//   - staleness.go, verdicts.go, delays.go: what is drawn;
//   - lists.go: the fleet, the audit, the defects and the settings, with their caps;
//   - format.go: times, durations and sizes for people.
package statuspage

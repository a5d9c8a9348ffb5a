// Package nemesis records what clients write and what keytail answers while a test
// injects faults, and finds violations: answers that break a guarantee of keytail.
// All times come from one clock. The rules know nothing about keytail's implementation. See
// DESIGN.md.
package nemesis

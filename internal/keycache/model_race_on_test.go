//go:build race

package keycache_test

// raceEnabled: the detector makes a search ten times slower, and there is
// nothing in it to detect.
const raceEnabled = true

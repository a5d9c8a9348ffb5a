// Package guard names the rules that keep keytail from a wrong answer, one
// switch for each, so that a test can take one out and see the anomaly that it
// keeps away: a test that has never failed proves nothing.
//
// The switches exist only under the build tag unguarded. Without it, in every
// binary that is released, each is the constant true: the compiler leaves out
// what depends on it, and nothing can be switched (release_test.go).
package guard

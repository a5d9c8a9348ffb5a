// Package guard names the rules that keep keytail from giving a wrong answer. There is one switch
// for each, so that a test can turn a rule off and show the anomaly that it prevents: a test that
// has never failed proves nothing.
//
// The switches exist only with the build tag unguarded. Without it, in every released binary, each
// guard is the constant true: the compiler leaves out what depends on it, and nothing can be
// switched (release_test.go).
//
// To add a guard: add its name to both guarded.go and unguarded.go (the constant, the variable,
// and the entry in Switches), put it into the condition that implements the rule, and add a test
// that turns it off and fails (internal/keycache and internal/changestream have examples in their
// files *_unguarded_test.go).
package guard

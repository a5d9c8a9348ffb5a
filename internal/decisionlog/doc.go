// Package decisionlog writes a line of JSON for each answer to a request that wanted
// to use a key, so that an operator can say later why a request was refused
// (docs/logs.md).
//
// A request never waits for it: Record puts the decision into a bounded queue, and one
// goroutine writes. What does not fit is dropped and counted. Refusals are always
// recorded, accepts are sampled, and give way to refusals when the queue fills.
//
// No line contains a key: a decision has none (forwardauth.Decision).
package decisionlog

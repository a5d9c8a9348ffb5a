// Package simulation runs the core (tail, heartbeater, cache, preload, validator) and the MongoDB driver
// against a replica set in memory, in virtual time, with faults and delays that a seed chooses. An oracle
// knows every state that each key ever had, and when. The same seed gives the same run.
//
// DESIGN.md has what is real, what is simulated, and what cannot be found here.
package simulation

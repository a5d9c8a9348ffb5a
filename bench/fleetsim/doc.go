// Package fleetsim simulates the schedules of a fleet of instances in virtual time: when each
// writes heartbeats and the use of keys, reads the list of instances, audits, and scans
// after a loss. The intervals and jitters are those of the product's own functions. What one write or
// one scan costs is given (Costs), and measured by the row fleet of package main.
//
// sim.go has the steady state, recovery.go what follows a loss that all instances have at the
// same moment.
package fleetsim

// Package peers runs keytail and other forward-auth services behind the same proxy, with
// the same client, and measures them: requests, CPU time and memory of each process, and
// for how long a revoked key is still accepted.
//
// The other services are built from the Go module proxy, each in its own module, so that
// none of their dependencies is one of keytail's or of its benchmarks.
package peers

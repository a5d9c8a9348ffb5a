//go:build !unix

package connlimit

// Descriptors is zero: this system has no such limit.
func Descriptors() int { return 0 }

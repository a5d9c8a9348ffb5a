//go:build unix

package connlimit

import (
	"math"

	"golang.org/x/sys/unix"
)

// Descriptors is how many file descriptors this process may have open: the soft limit,
// which Go has raised to the hard one at start. Zero: there is no limit, or none that
// can be read.
func Descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	if current := uint64(limit.Cur); current < math.MaxInt32 { //nolint:unconvert // it is signed on some systems
		return int(current)
	}
	return 0
}

//go:build !linux

package nemesis

import "errors"

// StopChild returns an error: it is implemented for Linux only.
func StopChild(string) (resume func() error, err error) {
	return nil, errors.New("stopping a process is implemented for Linux only")
}

// OpenFiles returns zero: it is implemented for Linux only.
func OpenFiles() (int, error) { return 0, nil }

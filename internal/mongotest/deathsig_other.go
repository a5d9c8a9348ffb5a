//go:build !linux

package mongotest

import "os/exec"

// dieWithParent does nothing: no other system has such a signal. A killed test
// binary leaves the child behind there.
func dieWithParent(*exec.Cmd) {}

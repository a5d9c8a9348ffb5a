//go:build !linux

package testprogram

import "os/exec"

// killWithParent does nothing: only Linux has such a signal. On other systems a
// child survives a killed test binary.
func killWithParent(*exec.Cmd) {}

package testprogram

import (
	"os/exec"
	"syscall"
)

// killWithParent makes the kernel kill the child when the test binary is killed.
func killWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

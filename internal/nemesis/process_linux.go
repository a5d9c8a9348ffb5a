package nemesis

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// StopChild sends SIGSTOP to the child of this process that has the given
// command-line argument. resume sends SIGCONT.
func StopChild(argument string) (resume func() error, err error) {
	pid, err := childWith(argument)
	if err != nil {
		return nil, err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return func() error { return syscall.Kill(pid, syscall.SIGCONT) }, nil
}

func childWith(argument string) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// A process that has just ended has neither file.
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if isChild(stat) && bytes.Contains(line, []byte("\x00"+argument+"\x00")) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no child process has the argument %s", argument)
}

// isChild reads the parent's process ID: the second field after the name, which is in
// parentheses and may contain any character (proc_pid_stat(5)).
func isChild(stat []byte) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 1 && string(fields[1]) == strconv.Itoa(os.Getpid())
}

// OpenFiles returns the number of file descriptors of this process.
func OpenFiles() (int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	return len(entries), err
}

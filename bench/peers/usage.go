package peers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what processes have used since their start.
type Usage struct {
	// CPU is the time of all threads, in user and kernel mode, in steps of 10 ms.
	CPU time.Duration
	// Peak is the largest resident set, in bytes. Of several processes it is the sum.
	Peak int64
}

// tick is the unit of times in /proc: USER_HZ, which is 100 on every architecture that Go
// supports.
const tick = 10 * time.Millisecond

// UsageOf reads what processes and their children have used.
func UsageOf(pids ...int) (Usage, error) {
	all, err := withChildren(pids)
	if err != nil {
		return Usage{}, err
	}
	var sum Usage
	for _, pid := range all {
		text, err := os.ReadFile(processFile(pid, "stat"))
		if err != nil {
			return Usage{}, err
		}
		cpu, err := cpuOf(string(text))
		if err != nil {
			return Usage{}, err
		}
		status, err := os.ReadFile(processFile(pid, "status"))
		if err != nil {
			return Usage{}, err
		}
		peak, err := peakOf(string(status))
		if err != nil {
			return Usage{}, err
		}
		sum.CPU, sum.Peak = sum.CPU+cpu, sum.Peak+peak
	}
	return sum, nil
}

func processFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// withChildren adds the children of the processes: the workers of nginx.
func withChildren(pids []int) ([]int, error) {
	all := append([]int(nil), pids...)
	for _, pid := range pids {
		tasks, err := filepath.Glob(processFile(pid, "task/*/children"))
		if err != nil || len(tasks) == 0 {
			return nil, fmt.Errorf("the process %d does not run, or this system has no /proc: the row runs on Linux: %w", pid, errors.Join(err, os.ErrNotExist))
		}
		for _, task := range tasks {
			text, err := os.ReadFile(task)
			if err != nil {
				continue // the thread has ended
			}
			for _, child := range strings.Fields(string(text)) {
				n, err := strconv.Atoi(child)
				if err != nil {
					return nil, err
				}
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// cpuOf reads user and system time from the text of /proc/PID/stat (proc(5)).
func cpuOf(stat string) (time.Duration, error) {
	// The second field, the name of the program, may contain spaces and parentheses.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const user, system = 14 - 3, 15 - 3 // the third field is the first one here
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/PID/stat has too few fields: %q", stat)
	}
	var sum time.Duration
	for _, field := range []string{fields[user], fields[system]} {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		sum += time.Duration(ticks) * tick
	}
	return sum, nil
}

// peakOf reads the largest resident set from the text of /proc/PID/status, in bytes.
func peakOf(status string) (int64, error) {
	_, rest, found := strings.Cut(status, "VmHWM:")
	fields := strings.Fields(rest)
	if !found || len(fields) < 2 || fields[1] != "kB" {
		return 0, errors.New("/proc/PID/status has no VmHWM")
	}
	kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
	return kilobytes << 10, err
}

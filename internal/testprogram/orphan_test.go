//go:build linux

package testprogram

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVariable makes the test below start a child, instead of testing.
const childVariable = "KEYTAIL_TEST_ORPHAN"

func TestChildIsKilledWithTheTestBinary(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		startChild(t)
		return
	}
	binary := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	binary.Env = append(os.Environ(), childVariable+"=1")
	output, err := binary.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := binary.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child is not running before the test: %v", err)
	}
	if err := binary.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = binary.Wait()
	for deadline := time.Now().Add(30 * time.Second); !ended(child); {
		if time.Now().After(deadline) {
			t.Fatalf("the child %d still runs", child)
		}
	}
}

// startChild prints the process ID of a child and waits until the child ends.
func startChild(t *testing.T) {
	p, err := Start("sleep", []string{"600"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(p.Pid()) + "\n")
	<-p.done
}

// ended counts a zombie as ended: without a process that reaps orphans it remains
// one.
func ended(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

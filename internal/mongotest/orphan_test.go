//go:build linux

package mongotest

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// orphanVariable turns the test below into the binary that is killed.
const orphanVariable = "KEYTAIL_TEST_ORPHAN"

func TestChildDiesWhenTheTestBinaryIsKilled(t *testing.T) {
	if os.Getenv(orphanVariable) != "" {
		beTheKilledBinary(t)
		return
	}
	binary := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	binary.Env = append(os.Environ(), orphanVariable+"=1")
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
		t.Fatalf("the child is not there to begin with: %v", err)
	}
	if err := binary.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = binary.Wait()
	Eventually(t, testTimeout, func() bool { return gone(child) }, "the child is gone")
}

// beTheKilledBinary prints the pid of a child and waits for the end.
func beTheKilledBinary(t *testing.T) {
	p, err := startProcess("sleep", []string{"600"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(p.cmd.Process.Pid) + "\n")
	<-p.done
}

// gone counts a zombie as gone: where nobody reaps orphans it stays one.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

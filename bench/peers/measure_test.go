package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCPUIsThatOfUserAndKernelMode(t *testing.T) {
	// The name of a program may look like the end of the field.
	const stat = "12 (a) S (b c) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1"
	if got, err := cpuOf(stat); err != nil || got != 2*time.Second {
		t.Errorf("got %v, %v, want 2 s", got, err)
	}
	if _, err := cpuOf("12 (a) R 1 2"); err == nil {
		t.Error("a text with too few fields is accepted")
	}
}

func TestPeakIsInBytes(t *testing.T) {
	if got, err := peakOf("Name:\ta\nVmHWM:\t    3 kB\nVmRSS:\t 2 kB\n"); err != nil || got != 3072 {
		t.Errorf("got %v, %v, want 3072", got, err)
	}
	if _, err := peakOf("Name:\ta\n"); err == nil {
		t.Error("a text without a peak is accepted")
	}
}

func TestUsageOfAnEndedProcessIsAnError(t *testing.T) {
	if used, err := UsageOf(os.Getpid()); err != nil || used.Peak == 0 {
		t.Errorf("this process: %+v, %v", used, err)
	}
	if _, err := UsageOf(1 << 30); err == nil {
		t.Error("a process that does not exist has used nothing, without an error")
	}
}

func TestLoadWithRefusalsIsAnError(t *testing.T) {
	const head = "Running 1s test\n\nRESULT "
	got, err := parseLoad([]byte(head + `{"requests":300,"duration_us":1500000,"p50_us":100,"p99_us":900,"refused":0,"failed":0}` + "\n"))
	if err != nil || got.PerSecond() != 200 || got.P99 != 900 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{
		"unable to connect", head + `{"requests":0,"duration_us":1500000}`,
		head + `{"requests":300,"duration_us":1500000,"refused":1}`, head + `{"requests":300,"duration_us":1500000,"failed":1}`,
	} {
		if _, err := parseLoad([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestBuildTakesTheProgramOfTheCache(t *testing.T) {
	cache := t.TempDir()
	m := Module{"peer", "not a module", "v1.0.0"}
	if _, err := m.Build(t.Context(), cache); err == nil || !strings.Contains(err.Error(), "not a module") {
		t.Errorf("a module that does not exist: got %v", err)
	}
	want := filepath.Join(cache, "peer-v1.0.0")
	if err := os.WriteFile(want, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Build(t.Context(), cache); err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
}

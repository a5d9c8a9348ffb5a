package historycheck

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// BenchmarkAMillionLines judges a history of a million lines of 1,000 keys, of which each
// twentieth is a write. It reports the memory that is in use at the end, too.
func BenchmarkAMillionLines(b *testing.B) {
	name := filepath.Join(b.TempDir(), "history.jsonl")
	if err := millionLines(name); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	lines := 0
	for b.Loop() {
		c, err := load(b.Context(), Input{History: name})
		if err == nil {
			err = c.each(b.Context(), c.judgeOne)
		}
		if err != nil || c.report.Wrong > 0 {
			b.Fatalf("%d wrong, %v", c.report.Wrong, err)
		}
		lines += c.report.Lines
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(c)
		b.StartTimer()
	}
	b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
}

func millionLines(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	to := bufio.NewWriter(file)
	w, err := history.NewWriter(to, history.Header{MaxStaleMS: 15000})
	states := map[string]string{}
	for i := range 999_999 {
		now, key := zero.Add(time.Duration(i)*100*time.Microsecond), fmt.Sprint("key-", i%1000)
		if i < 1000 || i%20 == i/1000%20 {
			states[key] = map[bool]string{true: history.Disabled, false: history.Valid}[states[key] == history.Valid]
			err = errors.Join(err, w.Add(&history.Write{Key: key, State: states[key], Sent: now, Acknowledged: now.Add(10 * time.Microsecond), Outcome: history.OK}))
			continue
		}
		err = errors.Join(err, w.Add(&history.Answer{
			Key: key, Code: states[key], Asked: now.Add(20 * time.Microsecond), Given: now.Add(50 * time.Microsecond), AsOf: now.Add(-time.Microsecond),
			StalenessMS: new(0.051), Revision: "6923a1c000000003", Instance: fmt.Sprint("instance-", i%3), Source: "cache",
		}))
	}
	return errors.Join(err, to.Flush(), file.Close())
}

package historycheck

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/history"
)

// FuzzCheck judges any file as a history and as a decision log. What is judged can be
// printed and drawn.
func FuzzCheck(f *testing.F) {
	f.Add(header + created + revoked + `{"type":"answer","key":"k1","code":"VALID","asked":"2026-11-30T12:02:00Z","given":"2026-11-30T12:02:00Z","as_of":"2026-11-30T12:01:30Z","min_revision":"6923a1c000000003"}`)
	f.Add(decided("VALID", "k1", "12:01:17", "12:00:59"))
	for _, name := range []string{"nemesis.jsonl", "http.jsonl", "decisions.jsonl"} {
		whole, err := os.ReadFile(filepath.Join(published, name))
		if err != nil {
			f.Fatal(err)
		}
		lines := strings.SplitAfterN(string(whole), "\n", 12)
		f.Add(strings.Join(lines[:11], ""))
	}
	writes := filepath.Join(f.TempDir(), "writes.jsonl")
	if err := os.WriteFile(writes, []byte(created+revoked), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content string) {
		name := text(t, "any", content)
		for _, in := range []Input{{History: name}, {Decisions: []string{name}, Writes: writes, MaxStale: history.Duration(1000)}} {
			r, err := Check(t.Context(), in)
			if err != nil {
				continue
			}
			if err := r.Print(io.Discard); err != nil {
				t.Fatal(err)
			}
			if (r.Wrong == 0) != r.OK || len(r.Violations) != min(r.Wrong, violationsKept) {
				t.Fatalf("%d wrong, %d violations, OK %v", r.Wrong, len(r.Violations), r.OK)
			}
			for i := range r.Violations[:min(len(r.Violations), 3)] {
				if err := Plot(t.Context(), in, &r.Violations[i], io.Discard); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

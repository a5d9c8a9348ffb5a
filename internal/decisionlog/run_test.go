package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

// brokenWriter fails while err is set, after it has written a part.
type brokenWriter struct {
	bytes.Buffer
	err error
}

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.err != nil {
		n, _ := b.Buffer.Write(p[:len(p)/2])
		return n, b.err
	}
	return b.Buffer.Write(p)
}

// TestAFailedWriteIsCountedAndTearsNoLine: a full disk ends one line early, and the next
// one is complete.
func TestAFailedWriteIsCountedAndTearsNoLine(t *testing.T) {
	out := &brokenWriter{}
	u := newLog(t, func(c *Config) { c.Stdout = out })
	w := &writer{Log: u.Log}
	w.json = encoder(&w.batch)
	write := func() {
		w.add(&entry{at, decided(apikey.Expired)})
		w.flush()
	}
	out.err = errors.New("no space left on device")
	write()
	out.err = nil
	write()
	write()
	if got := u.dropped(t, droppedWriteFailed); got != 1 {
		t.Errorf("%v are counted", got)
	}
	part, rest, _ := strings.Cut(out.String(), "\n")
	if json.Valid([]byte(part)) || len(lines(t, rest)) != 2 {
		t.Errorf("written:\n%s", out)
	}
	w.report()
	var said []string
	for _, entry := range u.logs.TakeAll() {
		said = append(said, entry.Level.String())
	}
	if diff := cmp.Diff([]string{"error", "info", "warn"}, said); diff != "" {
		t.Error(diff)
	}
}

// TestALineThatACrashHasCutShort is ended: the next line is complete.
func TestALineThatACrashHasCutShort(t *testing.T) {
	for before, want := range map[string]string{"": "", "{}\n": "{}\n", `{"time":`: `{"time":` + "\n"} {
		path := filepath.Join(t.TempDir(), "decisions.log")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		u := newLog(t, func(c *Config) { c.Path = path })
		u.Record(decided(apikey.Valid))
		u.finish(t)
		content, err := os.ReadFile(path)
		if rest, ok := strings.CutPrefix(string(content), want); err != nil || !ok || len(lines(t, rest)) != 1 {
			t.Errorf("after %q: %v, %s", before, err, content)
		}
	}
}

// TestReopen follows a rotation: what comes later is in the new file.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.log")
	u := newLog(t, func(c *Config) { c.Path = path })
	w := &writer{Log: u.Log}
	w.json = encoder(&w.batch)
	write := func(requestID string) {
		d := decided(apikey.Valid)
		d.RequestID = requestID
		w.add(&entry{at, d})
		w.flush()
	}
	write("before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("renamed")
	for range 2 { // a second request does not wait
		if !u.Reopen() {
			t.Error("there is a file")
		}
	}
	<-u.reopen
	w.reopenFile()
	write("after")

	// A path that cannot be opened: the file that is open stays in use.
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	w.reopenFile()
	write("kept")
	w.closeFile()

	for name, want := range map[string][]any{path + ".1": {"before", "renamed"}, path + ".2": {"after", "kept"}} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []any
		for _, l := range lines(t, string(content)) {
			got = append(got, l["request_id"])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", filepath.Base(name), diff)
		}
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v: other users can read it", info.Mode(), err)
	}
	if all := u.logs.FilterLevelExact(zap.ErrorLevel).All(); len(all) != 1 {
		t.Errorf("the failed one is logged: %v", all)
	}
	if newLog(t, nil).Reopen() {
		t.Error("standard output can be opened again")
	}
}

// TestReopenByRun, by the goroutine that writes.
func TestReopenByRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newLog(t, func(c *Config) { c.Path = filepath.Join(t.TempDir(), "decisions.log") })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- u.Run(ctx) }()
		u.Reopen()
		synctest.Wait()
		if all := u.logs.TakeAll(); len(all) != 1 || all[0].Level != zap.InfoLevel {
			t.Errorf("the log says: %v", all)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAWriterThatHangsDoesNotStopTheStop: Run returns, and says what is lost.
func TestAWriterThatHangsDoesNotStopTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, stuck := io.Pipe()
		u := newLog(t, func(c *Config) { c.Stdout = stuck })
		u.Record(decided(apikey.Expired))
		ctx, stop := context.WithCancel(t.Context())
		stop()
		begin := time.Now()
		if err := u.Run(ctx); err != nil || time.Since(begin) != flushTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if all := u.logs.FilterLevelExact(zap.ErrorLevel).All(); len(all) != 1 {
			t.Errorf("the log says: %v", all)
		}
		_ = reader.Close()
		synctest.Wait()
	})
}

// TestEverythingIsWrittenAtTheStop by many goroutines that record while Run writes.
func TestEverythingIsWrittenAtTheStop(t *testing.T) {
	const each = 500
	u := newLog(t, func(c *Config) { c.QueueSize = 8 * 2 * each })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- u.Run(ctx) }()
	var recording sync.WaitGroup
	for range 8 {
		recording.Go(func() {
			for range each {
				u.Record(decided(apikey.Valid))
			}
		})
	}
	recording.Wait()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := len(lines(t, u.out.String())); got != 8*each {
		t.Errorf("%d lines, want %d", got, 8*each)
	}
}

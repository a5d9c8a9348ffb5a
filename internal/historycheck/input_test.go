package historycheck

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// text writes a file, and returns its name.
func text(t *testing.T, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const (
	header  = `{"type":"header","format":"keytail-history","version":1,"max_stale_ms":15000}` + "\n"
	created = `{"type":"write","key":"k1","state":"VALID","sent":"2026-11-30T12:00:00Z","acknowledged":"2026-11-30T12:00:00.01Z","outcome":"ok"}` + "\n"
	revoked = `{"type":"write","key":"k1","state":"DISABLED","sent":"2026-11-30T12:01:00Z","acknowledged":"2026-11-30T12:01:00.01Z","outcome":"ok"}` + "\n"
)

// began is a line of a state before the first write.
func began(state string) string {
	return `{"type":"initial","key":"k1","states":["` + state + `"]}` + "\n"
}

const answered = `{"type":"answer","key":"k1","code":"VALID","asked":"2026-11-30T12:00:01Z","given":"2026-11-30T12:00:02Z"}` + "\n"

// decided is a line of a decision log.
func decided(code, key, at, asOf string) string {
	return `{"time":"2026-11-30T` + at + `Z","operation":"verify","request_id":"r","code":"` + code + `","key_id":"` + key + `","as_of":"2026-11-30T` + asOf + `Z","revision":"6923a1c000000003","instance":"i"}` + "\n"
}

func TestDecisionLogsAreJudged(t *testing.T) {
	other := `{"time":"2026-11-30T12:00:01Z","code":"NOT_FOUND","instance":"i"}` + "\n\n" + `{"time":"2026-11-30T12:00:01Z","code":"NO_SUCH_POLICY","key_id":"k1"}` + "\n"
	for name, c := range map[string]struct {
		log    string
		wrong  int
		others int
	}{
		"right":                        {decided("VALID", "k1", "12:00:10", "12:00:09") + decided("DISABLED", "k1", "12:01:10", "12:01:09"), 0, 0},
		"another request":              {decided("FORBIDDEN", "k1", "12:00:10", "12:00:09") + decided("INSUFFICIENT_PERMISSIONS", "k1", "12:00:10", "12:00:09"), 0, 0},
		"before the first write":       {decided("EXPIRED", "k1", "11:59:10", "11:59:09"), 0, 0},
		"of a key that is not written": {decided("VALID", "k2", "12:00:10", "12:00:09"), 0, 0},
		"late":                         {decided("VALID", "k1", "12:01:17", "12:00:59"), 1, 0},
		"late by another request":      {decided("FORBIDDEN", "k1", "12:01:17", "12:00:59"), 1, 0},
		"as late as clocks allow":      {decided("VALID", "k1", "12:01:16", "12:01:00"), 0, 0},
		"a false age":                  {decided("VALID", "k1", "12:01:04", "12:01:03"), 1, 0},
		"others":                       {other + decided("VALID", "k1", "12:00:10", "12:00:09"), 0, 2},
	} {
		r := judged(t, Input{Decisions: []string{text(t, "decisions.jsonl", c.log)}, Writes: text(t, "writes.jsonl", created+revoked), MaxStale: 15 * time.Second, ClockUncertainty: time.Second})
		if r.Wrong != c.wrong || r.Totals.Other != c.others {
			t.Errorf("%s: %d wrong, %d others, %v", name, r.Wrong, r.Totals.Other, r.Violations)
		}
		for _, v := range r.Violations {
			if !strings.HasSuffix(v.File, "decisions.jsonl") || v.Line != 1 || len(v.Writes) == 0 || v.Writes[0].File == v.File {
				t.Errorf("%s: the violation is at %s:%d, its writes are %v", name, v.File, v.Line, v.Writes)
			}
		}
	}
}

func TestAHeaderOfTheWritesWins(t *testing.T) {
	in := Input{
		Decisions: []string{text(t, "decisions.jsonl", decided("FORBIDDEN", "k1", "12:00:10", "12:00:09"))},
		Writes:    text(t, "writes.jsonl", header+created), MaxStale: time.Second,
	}
	if r := judged(t, in); r.Wrong != 1 || r.Header.MaxStaleMS != 15000 {
		t.Errorf("%d wrong with %+v", r.Wrong, r.Header)
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	history := func(content string) func(*testing.T) Input {
		return func(t *testing.T) Input { return Input{History: text(t, "history.jsonl", content)} }
	}
	decisions := func(content string) func(*testing.T) Input {
		return func(t *testing.T) Input {
			return Input{Decisions: []string{text(t, "decisions.jsonl", content)}, Writes: text(t, "writes.jsonl", created)}
		}
	}
	for name, c := range map[string]struct {
		in   func(*testing.T) Input
		want string
	}{
		"no file":          {func(*testing.T) Input { return Input{History: "none.jsonl"} }, "none.jsonl: no such file"},
		"a directory":      {func(t *testing.T) Input { return Input{History: t.TempDir()} }, "it is not a file: it is read twice"},
		"a pipe":           {func(*testing.T) Input { return Input{History: "-"} }, "it is not a file: it is read twice"},
		"empty":            {history(""), "history.jsonl: line 1: the file is empty"},
		"a decision log":   {history(decided("VALID", "k1", "12:00:10", "12:00:09")), "history.jsonl: line 1: the first line must be the header"},
		"no answer":        {history(header + created), "history.jsonl: it has no answer"},
		"no rule applies":  {history(strings.Replace(header, `,"max_stale_ms":15000`, "", 1) + created + answered), "history.jsonl: no promise can be applied"},
		"two beginnings":   {history(header + began("VALID") + began("VALID") + began("DISABLED")), "history.jsonl: line 4: the states of k1 before its first write are given twice"},
		"a wrong write":    {history(header + answered + `{"type":"write"}`), "history.jsonl: line 3: the field key is missing"},
		"a wrong answer":   {history(header + created + `{"type":"answer"}`), "history.jsonl: line 3: the field key is missing"},
		"a wrong ending":   {history(header + answered + `{"type":"answer","key`), "history.jsonl: line 3: it is not a JSON object"},
		"a clock":          {history(header + answered + `{"type":"clock","at":"2026-11-30T12:00:00Z","offset_ms":-3}`), "history.jsonl: line 3: offset_ms is 3 ms"},
		"no log":           {decisions("x\n"), "decisions.jsonl: line 1: it is not a line of a decision log"},
		"a log of another": {decisions("{}\n"), "decisions.jsonl: line 1: it is not a line of a decision log"},
		"masked":           {decisions(decided("VALID", "[masked]", "12:00:10", "12:00:09")), "decisions.jsonl: line 1: its key_id is masked"},
		"nothing judged":   {decisions(`{"time":"2026-11-30T12:00:01Z","code":"NOT_FOUND"}`), "decisions.jsonl: it has no answer"},
		"no writes": {func(t *testing.T) Input {
			return Input{Decisions: []string{text(t, "d", "")}, Writes: "none.jsonl"}
		}, "none.jsonl: no such file"},
	} {
		if r, err := Check(t.Context(), c.in(t)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v and %v, want %s", name, r, err, c.want)
		}
	}
}

// recording is a context that is asked while a file is read, and appends a line to one then.
type recording struct {
	context.Context
	to   *os.File
	line string
}

func (r recording) Err() error {
	_, err := r.to.WriteString(r.line)
	return err
}

// TestAFileThatGrowsIsNotJudged: what is read late may be an answer about a write that was not there
// when the writes were read.
func TestAFileThatGrowsIsNotJudged(t *testing.T) {
	whole := text(t, "history.jsonl", header+created+strings.Repeat(answered, 5000))
	writes := text(t, "writes.jsonl", created)
	decisions := text(t, "decisions.jsonl", strings.Repeat(decided("VALID", "k1", "12:00:10", "12:00:09"), 5000))
	for name, c := range map[string]struct {
		in          Input
		grows, line string
	}{
		"a history":               {Input{History: whole}, whole, answered},
		"writes beside decisions": {Input{Decisions: []string{decisions}, Writes: writes}, writes, revoked},
	} {
		to, err := os.OpenFile(c.grows, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Check(recording{t.Context(), to, c.line}, c.in)
		if !errors.Is(err, errChanged) || !strings.Contains(err.Error(), c.grows) {
			t.Errorf("%s: got %v and %v", name, r, err)
		}
		if err := to.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnInterruptedCheckJudgesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := Check(ctx, Input{History: text(t, "history.jsonl", header+strings.Repeat(created, 5000))})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v and %v", r, err)
	}
}

// TestPicturesAreWellFormed, also of texts that are not meant well.
func TestPicturesAreWellFormed(t *testing.T) {
	const evil = "</text><script>alert(1)</script>\x1b[31m&"
	answer := got(history.Valid, 1015, 1030)
	for name, records := range map[string][]history.Record{
		"evil": {
			with(became(history.Valid, 10), func(w *history.Write) { w.Key = evil }), with(became(history.Disabled, 1000), func(w *history.Write) { w.Key = evil }),
			with(got(history.Valid, 1015, 1030), func(a *history.Answer) { a.Key, a.Instance, a.Source = evil, evil, evil }),
			&history.Fault{Name: evil, From: at(0), To: at(2000)}, &history.Fault{Name: "endless", From: at(1020)},
		},
		"without reports": {with(got(history.Valid, 0, 20), func(a *history.Answer) { a.AsOf, a.StalenessMS, a.Instance = time.Time{}, nil, "" })},
		"at one moment":   {with(got(history.Valid, 20, 20), func(a *history.Answer) { a.Asked = a.Given })},
		"expired":         {with(became(history.Valid, 10), func(w *history.Write) { w.Expires = at(500) }), got(history.Valid, 590, 600)},
		"many":            append(many(2000), became(history.Disabled, 1000), answer),
	} {
		in := Input{History: file(t, exact(), records...)}
		r := judged(t, in)
		if r.OK {
			t.Fatalf("%s: nothing to draw", name)
		}
		var picture, printed strings.Builder
		if err := errors.Join(Plot(t.Context(), in, &r.Violations[0], &picture), r.Print(&printed)); err != nil {
			t.Fatal(err)
		}
		decoder := xml.NewDecoder(strings.NewReader(picture.String()))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, &picture)
			}
			if start, ok := token.(xml.StartElement); ok && start.Name.Local == "script" {
				t.Errorf("%s: the picture has a script", name)
			}
		}
		if strings.ContainsAny(picture.String()+printed.String(), "\x1b") || strings.Contains(picture.String(), "NaN") {
			t.Errorf("%s: the text changes the terminal, or a place is not a number", name)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// many are writes and answers about the key.
func many(n int) (all []history.Record) {
	for i := range n {
		all = append(all, became(history.Valid, -n+i), got(history.Valid, -n+i, i))
	}
	return all
}

// TestViolationsThatAreKeptAreBounded, and all are counted.
func TestViolationsThatAreKeptAreBounded(t *testing.T) {
	var records []history.Record
	for range violationsKept + 500 {
		records = append(records, got(history.Valid, 10, 20))
	}
	r := judged(t, Input{History: file(t, exact(), records...)})
	if r.Wrong != len(records) || len(r.Violations) != violationsKept {
		t.Errorf("%d wrong, %d kept", r.Wrong, len(r.Violations))
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "and 1,480 more answers") {
		t.Errorf("%v\n%s", err, text.String()[text.Len()-200:])
	}
}

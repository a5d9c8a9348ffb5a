package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func at(ms int) time.Time {
	return time.Date(2026, 11, 30, 12, 0, 0, 1, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

func ms(v float64) *float64 { return &v }

// every has each type of record, with each field set.
var every = []Record{
	&Header{
		MaxStaleMS: 6000, ClockUncertaintyMS: 2.5, ResolutionMS: ms(0), Fenced: true, Requests: Vary, Initial: []string{NotFound, Valid},
		Description: "a <run>", Topology: "three", Clock: "one", Recorded: at(0),
	},
	&Initial{Key: "k", States: []string{AnyState}},
	&Write{Key: "k", State: Valid, Sent: at(1), Acknowledged: at(2), Outcome: OK, Concern: "1", Revision: "6923a1c000000003", Expires: at(100)},
	&Write{Key: "k", State: Disabled, Sent: at(3), Outcome: Unknown},
	&Write{Key: "k", State: Disabled, Sent: at(4), Outcome: Failed},
	&Answer{
		Key: "k \"quoted\" \\ é", Code: Refused, Asked: at(5), Given: at(6), AsOf: at(4), StalenessMS: ms(1.000001), Revision: "6923a1c000000003",
		MinRevision: "6923a1c000000002", Instance: "i", Source: "cache",
	},
	&Acknowledgement{Scope: Instance, Instance: "i", At: at(7), Revision: "6923a1c000000003", Covers: at(1)},
	&Acknowledgement{Scope: Fleet, At: at(7), Covers: at(1)},
	&Fault{Name: "paused", From: at(8), To: at(9), Instance: "i"},
	&Outage{From: at(8), To: at(9), Instance: "i"},
	&Clock{At: at(10), Machine: "a", OffsetMS: ms(-1.5), Text: "chrony"},
}

func write(t *testing.T, records ...Record) string {
	t.Helper()
	var to bytes.Buffer
	w, err := NewWriter(&to, *records[0].(*Header))
	for _, r := range records[1:] {
		err = errors.Join(err, w.Add(r))
	}
	if err != nil {
		t.Fatal(err)
	}
	return to.String()
}

// copied is a record that does not change when the next one is read.
func copied(r Record) Record {
	c := reflect.New(reflect.TypeOf(r).Elem())
	c.Elem().Set(reflect.ValueOf(r).Elem())
	if a, ok := c.Interface().(*Answer); ok && a.StalenessMS != nil {
		a.StalenessMS = ms(*a.StalenessMS)
	}
	return c.Interface().(Record)
}

func readAll(text string, options Options) (all []Record, err error) {
	for r := NewReader(strings.NewReader(text), options); ; {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, copied(record))
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	text := write(t, every...)
	got, err := readAll(text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, every) {
		t.Errorf("got %s\nfrom\n%s", write(t, got...), text)
	}
	// A field that the records above do not set would not be compared.
	for _, record := range []Record{every[0], every[2], every[5], every[6], every[8], every[9], every[10]} {
		for v, i := reflect.ValueOf(record).Elem(), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("this test does not set %s.%s", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
}

func TestLinesOfOtherProgramsAreRead(t *testing.T) {
	text := `{ "version": 1, "format": "keytail-history", "max_stale_ms": 15e3, "clock_uncertainty_ms": 0, "type": "header", "initial": null }` + "\r\n\n" +
		`{"type":"answer","key":"k\u0065y","code":"VALID","asked":"2026-11-30T12:00:00+00:00","given":"2026-11-30T14:00:00.5+02:00","as_of":null,"staleness_ms":0,"note":{"mine":[1,"}"]}}`
	got, err := readAll(text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	zero := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	want := []Record{
		&Header{MaxStaleMS: 15000},
		&Answer{Key: "key", Code: Valid, Asked: zero, Given: zero.Add(500 * time.Millisecond), StalenessMS: ms(0)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", write(t, got...))
	}
}

func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	header := `{"type":"header","format":"keytail-history","version":1,"max_stale_ms":15000}` + "\n"
	const asked, answer = `"asked":"2026-11-30T12:00:00Z","given":"2026-11-30T12:00:01Z"`, `{"type":"answer","key":"k","code":"VALID",`
	const sent = `{"type":"write","key":"k","state":"VALID","sent":"2026-11-30T12:00:00Z",`
	synthetic := "kt_" + strings.Repeat("0", 49)
	for name, c := range map[string]struct{ text, want string }{
		"empty":                  {"", "line 1: the file is empty"},
		"no header":              {answer + asked + "}", "line 1: the first line must be the header"},
		"two headers":            {header + header, "line 2: a header is the first line alone"},
		"another version":        {strings.Replace(header, `"version":1`, `"version":2`, 1), "line 1: version is 2"},
		"another format":         {strings.Replace(header, "keytail-", "", 1), "line 1: format must be"},
		"no version":             {strings.Replace(header, `"version":1,`, ``, 1), "line 1: a header needs"},
		"not JSON":               {header + "x", "line 2: it is not a JSON object"},
		"cut":                    {header + answer + `"as`, "line 2: it is not a JSON object"},
		"two on a line":          {header + answer + asked + "}{}", "line 2: something follows"},
		"an unknown type":        {header + `{"type":"read"}`, `line 2: its type is "read"`},
		"no type":                {header + `{}`, "line 2: it has no field type"},
		"an unknown field":       {header + answer + asked + `,"asof":1}`, `line 2: this type of record has no field "asof"`},
		"a field twice":          {header + answer + `"key":"l"}`, `line 2: it has the field "key" twice`},
		"a missing field":        {header + answer + `"asked":"2026-11-30T12:00:00Z"}`, "line 2: the field given is missing"},
		"no key":                 {header + `{"type":"answer","code":"VALID",` + asked + "}", "line 2: the field key is missing"},
		"an unknown code":        {header + strings.Replace(answer, "VALID", "Valid", 1) + asked + "}", "line 2: code must be one of"},
		"an unknown state":       {header + strings.Replace(sent, "VALID", "REFUSED", 1) + `"outcome":"ok"}`, "line 2: state must be one of"},
		"a time as a number":     {header + answer + `"asked":1764504000,"given":1}`, "line 2: the field asked must be a time"},
		"a time without zone":    {header + answer + `"asked":"2026-11-30T12:00:00"}`, "line 2: the field asked must be a time"},
		"a time of long ago":     {header + answer + strings.Replace(asked, "2026", "1926", 1) + "}", "line 2: asked must be between"},
		"given before asked":     {header + answer + `"given":"2026-11-30T12:00:00Z","asked":"2026-11-30T12:00:01Z"}`, "line 2: given is before asked"},
		"acknowledged too soon":  {header + sent + `"acknowledged":"2026-11-30T11:00:00Z","outcome":"ok"}`, "line 2: acknowledged is before sent"},
		"ok without its time":    {header + sent + `"outcome":"ok"}`, `line 2: a write with the outcome "ok" needs`},
		"unknown with a time":    {header + sent + `"acknowledged":"2026-11-30T12:00:01Z","outcome":"unknown"}`, "line 2: a write with the outcome"},
		"no outcome":             {header + sent + `"w":"majority"}`, "line 2: outcome must be"},
		"negative staleness":     {header + answer + asked + `,"staleness_ms":-1}`, "line 2: staleness_ms must be"},
		"staleness as text":      {header + answer + asked + `,"staleness_ms":"1"}`, "line 2: the field staleness_ms must be a number"},
		"a revision":             {header + answer + asked + `,"revision":"6923A1C000000003"}`, "line 2: revision must be 16"},
		"nothing acknowledged":   {header + `{"type":"acknowledgement","scope":"fleet","at":"2026-11-30T12:00:00Z"}`, "line 2: an acknowledgement needs"},
		"covers what is to come": {header + `{"type":"acknowledgement","scope":"fleet","at":"2026-11-30T12:00:00Z","covers":"2026-11-30T12:00:01Z"}`, "line 2: at is before covers"},
		"an instance's":          {header + `{"type":"acknowledgement","scope":"instance","at":"2026-11-30T12:00:00Z"}`, "line 2: the scope"},
		"no initial state":       {header + `{"type":"initial","key":"k","states":[]}`, "line 2: states must have"},
		"the text of a key":      {header + strings.Replace(answer, `"k"`, `"`+synthetic+`"`, 1) + asked + "}", "line 2: the field key has what looks like the text of an API key"},
		"a key as an instance":   {header + answer + asked + `,"instance":"` + synthetic + `"}`, "line 2: the field instance has what looks like the text of an API key"},
		"a key with escapes":     {header + answer + asked + `,"source":"of kt\u005f` + synthetic[3:] + `"}`, "line 2: the field source has what looks like the text of an API key"},
		"a key in a note":        {header + answer + asked + `,"note":{"seen":["` + synthetic + `"]}}`, "line 2: the field note has what looks like the text of an API key"},
		"escapes in a note":      {header + answer + asked + `,"note":{"seen":["kt\u005f` + synthetic[3:] + `"]}}`, "line 2: the field note has what looks like the text of an API key"},
		"escapes in a name":      {header + answer + asked + `,"note":[{"kt\u005f` + synthetic[3:] + `":1}]}`, "line 2: the field note has what looks like the text of an API key"},
		"a key as a field":       {header + answer + asked + `,"` + synthetic + `":1}`, "line 2: the name of a field looks like the text of an API key"},
		"a key as a type":        {header + `{"type":"` + synthetic + `"}`, "line 2: the field type has what looks like"},
		"a key in a header":      {strings.Replace(header, `"version"`, `"description":"a `+synthetic+`","version"`, 1), "line 1: the field description has what looks like the text of an API key"},
		"a list":                 {"[" + header, "line 1: it is a list"},
		"a byte order mark":      {"\ufeff" + header, "line 1: it begins with a byte order mark"},
		"a long line":            {header + `{"type":"clock","note":"` + strings.Repeat("x", maxLine) + `"}`, "line 2: it is longer"},
	} {
		_, err := readAll(c.text, Options{})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), synthetic) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestAHeadlessFileMayHaveAHeader(t *testing.T) {
	whole := write(t, every...)
	_, rest, _ := strings.Cut(whole, "\n")
	for text, want := range map[string]int{"": 0, rest: len(every) - 1, whole: len(every)} {
		got, err := readAll(text, Options{Headless: true})
		if err != nil || len(got) != want {
			t.Errorf("got %d records and %v, want %d", len(got), err, want)
		}
	}
}

func TestSkippedRecordsAreNotReturned(t *testing.T) {
	got, err := readAll(write(t, every...), Options{Skip: []string{"answer", "write"}})
	if err != nil || len(got) != len(every)-4 {
		t.Errorf("got %d records and %v", len(got), err)
	}
}

func TestTheWriterRefusesWhatTheReaderRefuses(t *testing.T) {
	w, err := NewWriter(io.Discard, Header{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(&Answer{Key: "k", Code: Valid, Asked: at(1)}); err == nil {
		t.Error("an answer that was never given is written")
	}
	if err := w.Add(&Fault{Name: "kt_" + strings.Repeat("0", 49), From: at(1)}); err == nil {
		t.Error("the text of a key is written")
	}
}

func FuzzReader(f *testing.F) {
	var to bytes.Buffer
	w, err := NewWriter(&to, *every[0].(*Header))
	for _, r := range every[1:] {
		err = errors.Join(err, w.Add(r))
	}
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(to.String()) {
		f.Add(line)
	}
	f.Add(`{"type":"answer","key":"\ud800\u0000","note":[{"a":"]"},-0.5e+7,null], "code":null}`)
	f.Fuzz(func(t *testing.T, line string) {
		if members, err := fields(nil, []byte(line)); err == nil {
			var same map[string]any
			if err := json.Unmarshal([]byte(line), &same); err != nil || len(same) != len(members) {
				t.Fatalf("%d fields, and encoding/json has %d and %v", len(members), len(same), err)
			}
		}
		records, err := readAll(line, Options{Headless: true})
		if err != nil {
			return
		}
		var to bytes.Buffer
		w := &Writer{to: &to}
		w.made = json.NewEncoder(&w.line)
		for _, r := range records {
			if err := w.Add(r); err != nil {
				t.Fatalf("%v is read and cannot be written: %v", r, err)
			}
		}
		again, err := readAll(to.String(), Options{Headless: true})
		if err != nil || !reflect.DeepEqual(records, again) {
			t.Fatalf("%q was written as %q, and read as %v, %v", line, to.String(), again, err)
		}
	})
}

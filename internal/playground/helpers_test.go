package playground

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

const (
	testMaxStale = 15 * time.Second
	// noticeDelay is how long keytail takes in these tests.
	noticeDelay = 12 * time.Millisecond
)

// fakeMongoDB has keys and faults. It is the Owner, and the Faults; service and keytail use
// it, too.
type fakeMongoDB struct {
	mu    sync.Mutex
	texts map[string]string // by id
	codes map[string]apikey.Code
	// changed is when a key was changed, and before what it was.
	changed map[string]time.Time
	before  map[string]apikey.Code
	fault   Fault
	since   time.Time
	// healed is closed by Heal.
	healed chan struct{}
	// refuse is the error of writes.
	refuse error
	made   int
}

func newFakeMongoDB() *fakeMongoDB {
	return &fakeMongoDB{texts: map[string]string{}, codes: map[string]apikey.Code{}, changed: map[string]time.Time{}, before: map[string]apikey.Code{}}
}

func (f *fakeMongoDB) disturb(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.healed != nil {
		close(f.healed)
		f.healed = nil
	}
	if f.fault = fault; fault != None {
		f.since, f.healed = time.Now(), make(chan struct{})
	}
}

func (f *fakeMongoDB) Cut()    { f.disturb(Cut) }
func (f *fakeMongoDB) Freeze() { f.disturb(Frozen) }
func (f *fakeMongoDB) Heal()   { f.disturb(None) }

// pass waits while one of the faults lasts.
func (f *fakeMongoDB) pass(ctx context.Context, faults ...Fault) error {
	f.mu.Lock()
	healed, blocked := f.healed, false
	for _, fault := range faults {
		blocked = blocked || fault == f.fault
	}
	f.mu.Unlock()
	if !blocked {
		return nil
	}
	select {
	case <-healed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeMongoDB) code(text string) apikey.Code {
	f.mu.Lock()
	defer f.mu.Unlock()
	if code, found := f.codes[text]; found {
		return code
	}
	return apikey.NotFound
}

// Read is that of the owner.
func (f *fakeMongoDB) Read(ctx context.Context, text string) (apikey.Code, error) {
	if err := f.pass(ctx, Frozen); err != nil {
		return apikey.Unavailable, err
	}
	return f.code(text), nil
}

func (f *fakeMongoDB) Create(ctx context.Context) (Created, error) {
	if err := f.pass(ctx, Frozen); err != nil {
		return Created{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return Created{}, f.refuse
	}
	f.made++
	made := Created{ID: fmt.Sprint(f.made), Text: fmt.Sprintf("kt_secret-text-%d", f.made), Prefix: fmt.Sprintf("kt_%d", f.made)}
	f.texts[made.ID], f.codes[made.Text] = made.Text, apikey.Valid
	return made, nil
}

func (f *fakeMongoDB) set(ctx context.Context, id string, code apikey.Code) error {
	if err := f.pass(ctx, Frozen); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	text := f.texts[id]
	f.before[text], f.changed[text], f.codes[text] = f.codes[text], time.Now(), code
	return nil
}

func (f *fakeMongoDB) SetActive(ctx context.Context, id string, active bool) error {
	if active {
		return f.set(ctx, id, apikey.Valid)
	}
	return f.set(ctx, id, apikey.Disabled)
}

func (f *fakeMongoDB) Delete(ctx context.Context, id string) error {
	return f.set(ctx, id, apikey.NotFound)
}

// service is the client of the services.
type service struct{ *fakeMongoDB }

func (s service) Read(ctx context.Context, text string) (apikey.Code, error) {
	if err := s.pass(ctx, Cut, Frozen); err != nil {
		return apikey.Unavailable, err
	}
	return s.code(text), nil
}

// keytail notices changes noticeDelay later, and answers from memory for testMaxStale.
type keytail struct{ *fakeMongoDB }

func (k keytail) state() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.fault == None:
		return State{"live", 0}
	case time.Since(k.since) > testMaxStale:
		return State{"down", time.Since(k.since)}
	}
	return State{"live", time.Since(k.since)}
}

func (k keytail) Validate(_ context.Context, text string, _ *apikey.Request) apikey.Verdict {
	state := k.state()
	if state.Name == "down" {
		return apikey.Verdict{}
	}
	code := k.code(text)
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.changed[text]
	if hidden := k.fault != None && at.After(k.since); !at.IsZero() && (hidden || time.Since(at) < noticeDelay) {
		code = k.before[text]
	}
	return apikey.Verdict{Code: code, Source: apikey.SourceCache, Staleness: state.Staleness}
}

// world is a playground that runs in a bubble of synctest.
type world struct {
	*Playground
	t       *testing.T
	mongodb *fakeMongoDB
}

// inWorld runs a test in a bubble.
func inWorld(t *testing.T, test func(*testing.T, *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMongoDB()
		p, err := New(Config{Validator: keytail{f}, State: keytail{f}.state, MaxStale: testMaxStale, Service: service{f}, Owner: f, Faults: f})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		test(t, &world{p, t, f})
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) do(command, number string) {
	w.t.Helper()
	if err := w.Do(w.t.Context(), command, number); err != nil {
		w.t.Fatalf("%s %s: %v", command, number, err)
	}
}

// key is the only key on the page.
func (w *world) key() keyView {
	w.t.Helper()
	d := w.snapshot()
	if len(d.Keys) != 1 {
		w.t.Fatalf("there are %d keys", len(d.Keys))
	}
	return d.Keys[0]
}

// expect compares what the lanes of the only key say.
func (w *world) expect(when string, want ...string) {
	w.t.Helper()
	var got []string
	for _, l := range w.key().Lanes {
		got = append(got, l.Code)
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		w.t.Errorf("%s: the lanes are %q, want %q", when, got, want)
	}
}

// expectWords looks for sentences of the last change of the only key.
func (w *world) expectWords(when string, want ...string) {
	w.t.Helper()
	var got []string
	if all := w.key().Changes; len(all) > 0 {
		got = append(got, all[0].Title)
		for _, l := range all[0].Lines {
			got = append(got, l.Text)
		}
	}
	for _, text := range want {
		if !strings.Contains(strings.Join(got, "\n"), text) {
			w.t.Errorf("%s: the page lacks %q: %q", when, text, got)
		}
	}
}

var errRefused = errors.New("a privilege is missing")

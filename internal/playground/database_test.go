package playground

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestWritesAreRetried while MongoDB does not answer, and know an attempt that took effect.
func TestWritesAreRetried(t *testing.T) {
	t.Parallel()
	lost := fmt.Errorf("no answer: %w", context.DeadlineExceeded)
	for name, c := range map[string]struct {
		answers []error
		done    error
		want    error
	}{
		"at once":                      {[]error{nil}, nil, nil},
		"after two attempts":           {[]error{lost, lost, nil}, nil, nil},
		"the first one took effect":    {[]error{lost, keystore.ErrDuplicate}, keystore.ErrDuplicate, nil},
		"another key has the hash":     {[]error{keystore.ErrDuplicate}, keystore.ErrDuplicate, keystore.ErrDuplicate},
		"what repeating does not mend": {[]error{errRefused}, nil, errRefused},
	} {
		calls := 0
		err := retryWrite(t.Context(), c.done, func() error {
			calls++
			return c.answers[calls-1]
		})
		if !errors.Is(err, c.want) || calls != len(c.answers) {
			t.Errorf("%s: %v after %d calls", name, err, calls)
		}
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := retryWrite(ended, nil, func() error { return lost }); !errors.Is(err, lost) {
		t.Errorf("when its time is over: %v", err)
	}
}

// TestDatabase on a real collection: what one client writes, another one reads.
func TestDatabase(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		name := server.Database(t)
		mongotest.CreateAPIKeys(t, server.Client(t).Database(name))
		open := func() *Database {
			store, err := keystore.New(keystore.Config{Client: server.Client(t), Database: name})
			if err != nil {
				t.Fatal(err)
			}
			return NewDatabase(store, "")
		}
		owner, reader := open(), open()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		made, err := owner.Create(ctx)
		if err != nil || !strings.HasPrefix(made.Text, made.Prefix) || len(made.Prefix) > len(made.Text)/3 {
			t.Fatalf("created: %v, %d characters of %d are shown", err, len(made.Prefix), len(made.Text))
		}
		want := func(text string, code apikey.Code) {
			t.Helper()
			if got, err := reader.Read(ctx, text); err != nil || got != code {
				t.Errorf("got %v, %v, want %v", got, err, code)
			}
		}
		want(made.Text, apikey.Valid)
		want("kt_", apikey.Malformed)
		for _, active := range []bool{false, true} { // in this order, so that each one changes the key
			if err := owner.SetActive(ctx, made.ID, active); err != nil {
				t.Fatal(err)
			}
			want(made.Text, map[bool]apikey.Code{false: apikey.Disabled, true: apikey.Valid}[active])
		}
		if err := owner.Delete(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
		want(made.Text, apikey.NotFound)
		if err := owner.SetActive(ctx, made.ID, true); !errors.Is(err, keystore.ErrNoSuchKey) {
			t.Errorf("a deleted key: %v", err)
		}
		cancelled, stop := context.WithCancel(ctx)
		stop()
		if _, err := reader.Read(cancelled, made.Text); err == nil {
			t.Error("a read that was cancelled has an answer")
		}
	})
}

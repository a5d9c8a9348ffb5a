package client

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytail/keytail/internal/secretfile"
)

// tokenInterval is the time between two reads of the token file.
const tokenInterval = 2 * time.Second

// token is the caller token, which can be in a file that changes. It is safe for
// concurrent use. It has no goroutine: the first call of get after tokenInterval reads
// the file.
type token struct {
	// path is the file. Empty: value never changes.
	path   string
	logger *slog.Logger
	// now is a monotonic clock.
	now   func() time.Duration
	value atomic.Pointer[string]

	// reading is locked by the call that reads the file; other calls use the value they
	// find.
	reading sync.Mutex
	readAt  atomic.Int64 // by now
	// loggedErr is the last error, which has been logged. reading guards it.
	loggedErr string
}

func newToken(config *Config) (*token, error) {
	started := time.Now()
	t := &token{path: config.TokenFile, logger: config.Logger, now: func() time.Duration { return time.Since(started) }}
	value := config.Token
	if t.path != "" {
		var err error
		if value, err = secretfile.ReadToken(t.path); err != nil {
			return nil, fmt.Errorf("client: TokenFile: %w", err)
		}
	}
	t.value.Store(&value)
	return t, nil
}

// get returns the token, "" for none.
func (t *token) get() string {
	if t.path != "" && t.now()-time.Duration(t.readAt.Load()) >= tokenInterval && t.reading.TryLock() {
		t.readAgain()
		t.reading.Unlock()
	}
	return *t.value.Load()
}

// readAgain reads the file again. It logs each error once. The caller has locked
// reading.
func (t *token) readAgain() {
	t.readAt.Store(int64(t.now()))
	value, err := secretfile.ReadToken(t.path)
	if err != nil {
		if t.loggedErr != err.Error() {
			t.logger.Error("the caller token cannot be read again: the earlier one stays in use", "error", err)
		}
		t.loggedErr = err.Error()
		return
	}
	t.loggedErr = ""
	if value != *t.value.Load() {
		t.value.Store(&value)
		t.logger.Info("the caller token has changed")
	}
}

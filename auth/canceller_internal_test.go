package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadlineCounter counts the deadlines that are set.
type deadlineCounter struct {
	http.ResponseWriter
	deadlines int
}

func (t *deadlineCounter) SetWriteDeadline(time.Time) error { t.deadlines++; return nil }
func (t *deadlineCounter) SetReadDeadline(time.Time) error  { t.deadlines++; return nil }

// After the handler the connection belongs to the next request, even if a goroutine
// that the handler started still writes.
func TestRevocationAfterTheHandlerLeavesTheConnectionAlone(t *testing.T) {
	response := &deadlineCounter{ResponseWriter: httptest.NewRecorder()}
	ctx, cancel := context.WithCancelCause(t.Context())
	c := &canceller{session: &session{Context: ctx}, cancel: cancel, response: response, unread: true}
	if err := errors.Join(c.beginWrite(true), c.revoked()); err != nil {
		t.Fatal(err)
	}
	if cause := c.finish(); cause != nil {
		t.Error(cause)
	}
	c.revoke(errExpired)
	c.endWrite()
	if response.deadlines != 0 {
		t.Errorf("%d deadlines were set", response.deadlines)
	}
}

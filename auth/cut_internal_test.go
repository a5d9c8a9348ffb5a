package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// timed is an answer that takes note of deadlines.
type timed struct {
	http.ResponseWriter
	deadlines int
}

func (t *timed) SetWriteDeadline(time.Time) error { t.deadlines++; return nil }
func (t *timed) SetReadDeadline(time.Time) error  { t.deadlines++; return nil }

// TestAnEndAfterTheHandlerTouchesNothing: the connection is the next request's, even
// if a goroutine that the handler has left behind still writes.
func TestAnEndAfterTheHandlerTouchesNothing(t *testing.T) {
	answer := &timed{ResponseWriter: httptest.NewRecorder()}
	ctx, cancel := context.WithCancelCause(t.Context())
	c := &cutter{session: &session{Context: ctx}, cancel: cancel, answer: answer, unread: true}
	if err := errors.Join(c.enter(true), c.ended()); err != nil {
		t.Fatal(err)
	}
	if cause := c.finish(); cause != nil {
		t.Error(cause)
	}
	c.end(errExpired)
	c.leave()
	if answer.deadlines != 0 {
		t.Errorf("%d deadlines", answer.deadlines)
	}
}

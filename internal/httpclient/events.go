package httpclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/keytail/keytail/api"
)

// maxEvent bounds one event, in bytes. keytail's have a few hundred.
const maxEvent = 1 << 20

// Event is one that keytail sent.
type Event struct {
	// ID is where to continue: the lastID of the next Listen.
	ID string
	// Kind may be newer than this program.
	Kind api.EventKind
	// Data is a JSON object, one of the types of package api.
	Data json.RawMessage
}

// Why a stream ended.
var (
	// ErrSilent: nothing was received for Config.Idle, not even a keep-alive.
	ErrSilent = errors.New("the event stream is silent")
	// ErrEnded: the server closed the stream, as it does when it shuts down or when
	// the client reads too slowly.
	ErrEnded = errors.New("the server ended the event stream")
	// ErrNotKeytail: the data of an event is not JSON. Another connection would not
	// help.
	ErrNotKeytail = errors.New("an event's data is not JSON: is the server keytail?")
)

// Listen passes the events of one connection to take, from one goroutine and in
// order, beginning after the event lastID, or now if lastID is empty. It calls
// opened when the server has begun to send.
//
// It returns when the connection ends, always with an error: one of the above, an
// *Error, that of Explain, or the error of take, which ends the connection.
func (c *Client) Listen(ctx context.Context, lastID string, opened func(), take func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.config.Idle, func() { cancel(ErrSilent) })
	defer idle.Stop()
	r := Request{Method: http.MethodGet, Path: api.PathEvents, Header: http.Header{}}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	response, err := c.Send(ctx, &r)
	if err != nil {
		return c.streamError(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxEvent))
		return c.Refusal(r.Path, response, body)
	}
	opened()
	return c.readEvents(ctx, &resettingReader{response.Body, idle, c.config.Idle}, take)
}

// readEvents reads until the stream ends.
func (c *Client) readEvents(ctx context.Context, r io.Reader, take func(Event) error) (err error) {
	sse.Read(r, &sse.ReadConfig{MaxEventSize: maxEvent})(func(e sse.Event, readErr error) bool {
		switch {
		case readErr != nil:
			err = c.streamError(ctx, readErr)
		case !json.Valid([]byte(e.Data)):
			err = ErrNotKeytail
		default:
			err = take(Event{e.LastEventID, api.EventKind(e.Type), json.RawMessage(e.Data)})
		}
		return err == nil
	})
	if err == nil {
		err = ErrEnded
	}
	return err
}

// streamError returns why a stream broke.
func (c *Client) streamError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrSilent) {
		return fmt.Errorf("%s: %w", c.Server(), cause)
	}
	return c.Explain(err)
}

// resettingReader resets a timer whenever it reads something, keep-alives
// included.
type resettingReader struct {
	io.Reader
	timer *time.Timer
	idle  time.Duration
}

func (r *resettingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.timer.Reset(r.idle)
	}
	return n, err
}

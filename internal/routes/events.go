package routes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/events"
)

const (
	// keepAlive is far shorter than the 30 to 60 s after which proxies close a
	// silent connection. A client that misses three treats the connection as
	// dead, and keeps streams of revoked keys open until then.
	keepAlive = 5 * time.Second
	// writeTimeout bounds one write: a client that reads nothing for so long is
	// disconnected.
	writeTimeout = 10 * time.Second
)

// Events is the source of events. It is safe for concurrent use.
type Events interface {
	// Subscribe begins after the event with this id. The error is events.ErrBusy
	// or events.ErrClosed.
	Subscribe(lastID string) (Subscription, error)
}

// Subscription is the position of one client in the stream of events. Next waits
// for at least one event; an error, with or without events, ends it.
// *events.Subscription is one.
type Subscription interface {
	Next(ctx context.Context) ([]events.Event, error)
	Close()
}

// serveEvents serves events behind guards, which abort requests that they refuse and
// note the token's name.
func serveEvents(engine *gin.Engine, source Events, perToken int, guards ...gin.HandlerFunc) {
	if source != nil {
		engine.GET(api.PathEvents, append(limitPerToken(perToken, guards), stream(source))...)
	}
}

// stream sends events as they happen, as server-sent events, until the client
// disconnects, reads too slowly, or the instance shuts down.
func stream(source Events) gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.URL.RawQuery != "" {
			writeProblem(c, api.CodeBadRequest, "this path takes no query")
			return
		}
		subscription := openStream(c, source, c.GetHeader("Last-Event-ID"))
		if subscription == nil {
			return
		}
		defer subscription.Close()
		if send(c, nil) == nil {
			pump(c, subscription)
		}
	}
}

// openStream subscribes, and begins the answer as server-sent events: the next one may be
// late, and the client needs to know now that it is connected. Nil: the request has been
// refused.
func openStream(c *gin.Context, source Events, lastEventID string) Subscription {
	subscription, err := source.Subscribe(lastEventID)
	if err != nil {
		writeSyncError(c, err)
		return nil
	}
	header := c.Writer.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // else nginx delays events
	c.Writer.WriteHeaderNow()
	return subscription
}

// pump writes until an error ends the stream.
func pump(c *gin.Context, subscription Subscription) {
	for {
		batch, err := nextBatch(c.Request.Context(), subscription)
		if errors.Is(err, errIdle) {
			err = send(c, []byte(": keep-alive\n\n"))
		} else if len(batch) > 0 {
			err = errors.Join(send(c, encodeEvents(batch)), err)
		}
		if err != nil {
			return
		}
	}
}

// errIdle: there was no event for keepAlive.
var errIdle = errors.New("no event")

func nextBatch(ctx context.Context, subscription Subscription) ([]events.Event, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, keepAlive, errIdle)
	defer cancel()
	return subscription.Next(ctx)
}

// send writes data, and gives the client writeTimeout to read it.
func send(c *gin.Context, data []byte) error {
	control := http.NewResponseController(c.Writer)
	if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := c.Writer.Write(data); err != nil {
		return err
	}
	return control.Flush()
}

// encodeEvents encodes events for the wire. Neither an id nor a kind has a line
// break, and JSON escapes those of everything else.
func encodeEvents(batch []events.Event) []byte {
	var all []byte
	for i := range batch {
		all = fmt.Appendf(all, "id: %s\nevent: %s\ndata: %s\n\n", batch[i].ID, batch[i].Kind, eventData(&batch[i]))
	}
	return all
}

// eventData is the JSON of an event.
func eventData(e *events.Event) []byte {
	// These structs of strings always marshal.
	var text []byte
	switch e.Kind {
	case events.Invalidation:
		text, _ = json.Marshal(api.Invalidation{KeyID: e.KeyID, Revision: e.Revision.String()})
	case events.Expiring:
		text, _ = json.Marshal(api.ExpiryNotice{KeyID: e.KeyID, ExpiresAt: api.Time{Time: e.ExpiresAt}})
	case events.State:
		text, _ = json.Marshal(api.StateChange{From: e.From, To: e.To})
	case events.Loss:
		text, _ = json.Marshal(api.LossEvent{Reason: e.Reason})
	case events.Resync:
		text, _ = json.Marshal(api.Resync{Reason: e.Reason, State: e.To})
	}
	return text
}

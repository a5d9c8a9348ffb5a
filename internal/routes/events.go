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
	// keepAlive is far below the 30 to 60 s after which proxies cut what is silent: a
	// client takes three of them that do not come for a dead connection, and holds
	// streams of revoked keys open until then.
	keepAlive = 5 * time.Second
	// eventTime is what one write may take: whoever does not read for so long is cut.
	eventTime = 10 * time.Second
)

// Events is where events come from. It is safe for concurrent use.
type Events interface {
	// Subscribe begins after the event with this id. The error is events.ErrBusy
	// or events.ErrClosed.
	Subscribe(lastID string) (Subscription, error)
}

// Subscription is one client's way through the events, as events.Subscription has
// it: Next waits for at least one, and an error along with events is the end.
type Subscription interface {
	Next(ctx context.Context) ([]events.Event, error)
	Close()
}

// stream sends events as they happen (the event stream of HTML's server-sent
// events) until the client is gone, reads too slowly, or a shutdown begins.
func stream(source Events) gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.URL.RawQuery != "" {
			writeProblem(c, api.CodeBadRequest, "this path has no query")
			return
		}
		subscription, err := source.Subscribe(c.GetHeader("Last-Event-ID"))
		if err != nil {
			writeSyncError(c, err)
			return
		}
		defer subscription.Close()
		header := c.Writer.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("X-Accel-Buffering", "no") // nginx would hold events back
		// A client that goes on may wait long for its next event, and wants to know now
		// that it is listened to.
		c.Writer.WriteHeaderNow()
		if send(c, nil) == nil {
			pump(c, subscription)
		}
	}
}

// pump writes until there is an end.
func pump(c *gin.Context, subscription Subscription) {
	for {
		batch, err := nextBatch(c.Request.Context(), subscription)
		if errors.Is(err, errQuiet) {
			err = send(c, []byte(": keep-alive\n\n"))
		} else if len(batch) > 0 {
			err = errors.Join(send(c, lines(batch)), err)
		}
		if err != nil {
			return
		}
	}
}

// errQuiet says that nothing has happened for keepAlive.
var errQuiet = errors.New("quiet")

func nextBatch(ctx context.Context, subscription Subscription) ([]events.Event, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, keepAlive, errQuiet)
	defer cancel()
	return subscription.Next(ctx)
}

// send writes, and gives the client eventTime to take it.
func send(c *gin.Context, data []byte) error {
	control := http.NewResponseController(c.Writer)
	if err := control.SetWriteDeadline(time.Now().Add(eventTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := c.Writer.Write(data); err != nil {
		return err
	}
	return control.Flush()
}

// lines are events as they stand on the wire. Neither an id nor a kind has a line
// break in it, and JSON escapes those of everything else.
func lines(batch []events.Event) []byte {
	var all []byte
	for i := range batch {
		all = fmt.Appendf(all, "id: %s\nevent: %s\ndata: %s\n\n", batch[i].ID, batch[i].Kind, data(&batch[i]))
	}
	return all
}

// data is an event's JSON.
func data(e *events.Event) []byte {
	// Structs of strings: they cannot fail.
	var text []byte
	switch e.Kind {
	case events.Invalidation:
		text, _ = json.Marshal(api.Invalidation{KeyID: e.KeyID, Revision: e.Revision.String()})
	case events.State:
		text, _ = json.Marshal(api.StateChange{From: e.From, To: e.To})
	case events.Loss:
		text, _ = json.Marshal(api.LossEvent{Reason: e.Reason})
	case events.Resync:
		text, _ = json.Marshal(api.Resync{Reason: e.Reason, State: e.To})
	}
	return text
}

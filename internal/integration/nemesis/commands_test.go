package nemesis

import (
	"context"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/event"
)

// commandCount counts the commands of a client. The zero value is ready.
type commandCount struct{ all, finds, aggregates atomic.Int64 }

func (c *commandCount) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, began *event.CommandStartedEvent) {
		c.all.Add(1)
		switch began.CommandName {
		case "find":
			c.finds.Add(1)
		case "aggregate":
			c.aggregates.Add(1)
		}
	}}
}

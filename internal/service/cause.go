package service

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/validator"
)

// cause is why the service is not live, for the log. Texts and errors contain no key.
type cause struct {
	// what is one sentence, one of the constants below.
	what string
	// since is when it began to fail. Zero: unknown.
	since time.Time
	// err is the last error. Nil: nothing has failed, something is awaited.
	err error
	// readErr is that of the last linearizable read. Nil: it succeeded, or there was none.
	readErr error
	// advice is what an operator can do, next what keytail does by itself.
	advice, next string
}

// The causes. They are parts of log lines, and the runbook may refer to them.
const (
	causeReads      = "linearizable reads fail"
	causeHeartbeats = "heartbeats are not acknowledged"
	causeStream     = "the change stream fails"
	causeSilence    = "acknowledged heartbeats do not arrive through the change stream"
	causeOpening    = "the change stream is not open yet"
	causeScan       = "the first scan of the collection has not ended"
)

// parts is what a cause is derived from.
type parts struct {
	state     State
	stream    changestream.Diagnosis
	heartbeat *changestream.Failure
	read      *validator.ReadFailure
	// interval is the time between two heartbeats.
	interval time.Duration
	now      time.Time
}

// cause is why the service is not live.
func (p *parts) cause() cause {
	if p.state == Preloading {
		return cause{what: causeScan, next: "the scan continues"}
	}
	c := p.causeOfStream()
	if p.state != Down || p.read == nil {
		return c
	}
	c.readErr = p.read.Err
	c.next = "one linearizable read at a time, with the next request; " + c.next
	if c.err == nil {
		c.what, c.since = causeReads, p.read.Since
		c.advice = "check that the replica set has a primary and a majority, and that keytail can reach it"
	}
	return c
}

// causeOfStream names what failed first: without writes no heartbeat can arrive, whatever the
// stream does.
func (p *parts) causeOfStream() cause {
	switch f := p.stream.Failure; {
	case p.heartbeat != nil:
		return cause{
			what: causeHeartbeats, since: p.heartbeat.Since, err: p.heartbeat.Err, advice: p.heartbeat.Advice,
			next: fmt.Sprintf("a heartbeat every %v; %s", p.interval, p.nextOfStream()),
		}
	case f != nil:
		return cause{what: causeStream, since: f.Since, err: f.Err, advice: f.Advice, next: p.nextOfStream()}
	case p.stream.Activity == changestream.Reading:
		return cause{what: causeSilence, next: p.nextOfStream()}
	}
	return cause{what: causeOpening, next: p.nextOfStream()}
}

// nextOfStream is what the tail does next.
func (p *parts) nextOfStream() string {
	left := max(0, p.stream.Until.Sub(p.now)).Round(100 * time.Millisecond)
	switch p.stream.Activity {
	case changestream.Opening:
		return fmt.Sprintf("the change stream is being opened; if that takes another %v, keytail tries again", left)
	case changestream.Resuming:
		return fmt.Sprintf("the change stream is being resumed; if that takes another %v, keytail tries again", left)
	case changestream.Pausing:
		return fmt.Sprintf("the change stream is opened again in %v", left)
	case changestream.Reading:
		return "the change stream is open and waits for a heartbeat"
	}
	return "the change stream has not been started"
}

// fields are those of a log line. Absent ones are left out.
func (c *cause) fields() []zap.Field {
	fields := []zap.Field{zap.String("cause", c.what)}
	if !c.since.IsZero() {
		fields = append(fields, zap.Time("failing_since", c.since))
	}
	if c.err != nil {
		fields = append(fields, zap.Error(c.err))
	}
	if c.readErr != nil {
		fields = append(fields, zap.NamedError("read_error", c.readErr))
	}
	if c.advice != "" {
		fields = append(fields, zap.String("advice", c.advice))
	}
	return append(fields, zap.String("next", c.next))
}

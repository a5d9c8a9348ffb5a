package events

import "context"

// Subscription is the position of one subscriber. It is for one goroutine.
type Subscription struct {
	hub *Hub
	// admin: it gets events for those who manage keys, too.
	admin bool
	// wake has a token if there may be new events.
	wake chan struct{}
	// seen is the number of the last event that Next returned.
	seen uint64
	// resync is why the subscriber must start again. Empty: it need not.
	resync string
	// state of the instance at that event.
	state string
}

// Next waits for events and returns those that exist, at least one. It returns
// ErrClosed at a shutdown, ctx's error when ctx has ended, and ErrSlow, along
// with a Resync as the last event, if events were overwritten before it could
// read them.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) {
	for {
		events, more, err := s.take()
		if len(events) > 0 || err != nil {
			return events, err
		}
		if more {
			continue // all that it took is not for this subscriber
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close ends the subscription. It can be called twice.
func (s *Subscription) Close() {
	s.hub.mutex.Lock()
	defer s.hub.mutex.Unlock()
	delete(s.hub.subscribers, s)
}

// take copies the new events, and renders them after it has released the lock. more:
// there are others.
func (s *Subscription) take() (events []Event, more bool, err error) {
	h := s.hub
	h.mutex.Lock()
	switch {
	case h.closed:
		h.mutex.Unlock()
		return nil, false, ErrClosed
	case h.overtakenLocked(s.seen):
		s.seen, s.resync, s.state = h.last, ReasonSlow, h.state
	}
	first, records := s.seen+1, s.copyLocked()
	s.seen += uint64(len(records))
	more = s.seen < h.last
	h.mutex.Unlock()

	if s.resync != "" {
		events, err = s.restart(first-1, records)
		return events, more, err
	}
	return s.render(nil, first, records), more, nil
}

// copyLocked is the events after the last one that Next returned.
func (s *Subscription) copyLocked() []record {
	h := s.hub
	records := make([]record, 0, min(h.last-s.seen, batch))
	for n := s.seen + 1; n <= h.last && len(records) < batch; n++ {
		records = append(records, h.ring[n%uint64(len(h.ring))])
	}
	return records
}

func (s *Subscription) restart(at uint64, records []record) ([]Event, error) {
	events := []Event{{ID: s.hub.id(at), Kind: Resync, Reason: s.resync, To: s.state}}
	if s.resync == ReasonSlow {
		return events, ErrSlow
	}
	s.resync = ""
	return s.render(events, at+1, records), nil
}

// render omits events that are not about a key, and those for others.
func (s *Subscription) render(events []Event, first uint64, records []record) []Event {
	for i, r := range records {
		if r.kind == Expiring && !s.admin {
			continue
		}
		e := Event{ID: s.hub.id(first + uint64(i)), Kind: r.kind, Revision: r.revision, ExpiresAt: r.expiresAt, Reason: r.reason, From: r.from, To: r.to}
		if r.kind == Invalidation || r.kind == Expiring {
			text, ok := s.hub.config.Text(r.id)
			if !ok {
				continue
			}
			e.KeyID = text
		}
		events = append(events, e)
	}
	return events
}

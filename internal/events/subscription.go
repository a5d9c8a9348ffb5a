package events

import "context"

// Subscription is one who listens. It is for one goroutine.
type Subscription struct {
	hub *Hub
	// news has a token when there may be something new.
	news chan struct{}
	// seen is the number of the last event that was handed out.
	seen uint64
	// resync is why the subscriber must begin anew. Empty: it need not.
	resync string
	// state is the instance's at that event.
	state string
}

// Next waits for events and returns those that are there, at least one. It returns
// ErrClosed at a shutdown, ctx's error when ctx has ended, and ErrSlow, along with
// a Resync as the last event, when others were overtaken before they could be
// read.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) {
	for {
		events, err := s.take()
		if len(events) > 0 || err != nil {
			return events, err
		}
		select {
		case <-s.news:
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

// take copies what there is, and renders it when others may publish again.
func (s *Subscription) take() ([]Event, error) {
	h := s.hub
	h.mutex.Lock()
	switch {
	case h.closed:
		h.mutex.Unlock()
		return nil, ErrClosed
	case h.overtakenLocked(s.seen):
		s.seen, s.resync, s.state = h.last, ReasonSlow, h.state
	}
	first, records := s.seen+1, s.copyLocked()
	s.seen += uint64(len(records))
	h.mutex.Unlock()

	if s.resync != "" {
		return s.beginAnew(first-1, records)
	}
	return s.render(nil, first, records), nil
}

// copyLocked is what comes after the last event that was handed out.
func (s *Subscription) copyLocked() []record {
	h := s.hub
	records := make([]record, 0, min(h.last-s.seen, batch))
	for n := s.seen + 1; n <= h.last && len(records) < batch; n++ {
		records = append(records, h.ring[n%uint64(len(h.ring))])
	}
	return records
}

func (s *Subscription) beginAnew(at uint64, records []record) ([]Event, error) {
	events := []Event{{ID: s.hub.id(at), Kind: Resync, Reason: s.resync, To: s.state}}
	if s.resync == ReasonSlow {
		return events, ErrSlow
	}
	s.resync = ""
	return s.render(events, at+1, records), nil
}

// render leaves out what is about no key.
func (s *Subscription) render(events []Event, first uint64, records []record) []Event {
	for i, r := range records {
		e := Event{ID: s.hub.id(first + uint64(i)), Kind: r.kind, Revision: r.revision, Reason: r.reason, From: r.from, To: r.to}
		if r.kind == Invalidation {
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

package devmongo

import (
	"context"
	"time"
)

// slowness is which clients resume slowly, and how slowly. Zero: none.
type slowness struct {
	appName string
	by      time.Duration
}

// DelayResumes delays each aggregate that resumes a change stream, like a server that
// has to scan a long log after the token. A new stream is not delayed. An empty appName
// means all clients. A duration of zero ends the delay, also of waiting commands.
func (s *Server) DelayResumes(appName string, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = slowness{appName, by}
	s.notify()
}

// resumeSlowly waits as DelayResumes specifies, or until the client or the server is
// gone.
func (o *op) resumeSlowly() error {
	slow := o.s.slow
	if slow.by == 0 || (slow.appName != "" && slow.appName != o.c.appName) {
		return nil
	}
	ctx, cancel := context.WithTimeout(o.ctx, slow.by)
	defer cancel()
	o.s.slowResumes++
	_ = o.s.await(ctx, func() bool { return o.s.slow != slow })
	o.s.slowResumes--
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	return nil
}

package devmongo

import (
	"context"
	"time"
)

// slowness is whose resumes take long, and how long. Zero: nobody's.
type slowness struct {
	appName string
	by      time.Duration
}

// DelayResumes makes each aggregate that resumes a change stream take some time
// before it is executed, as on a server with much log to scan from the token
// on; a new stream is opened at once. An empty appName means everybody. A time
// of zero ends it, also for those who wait.
func (s *Server) DelayResumes(appName string, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = slowness{appName, by}
	s.notify()
}

// crawl waits as DelayResumes says, but no longer than the client or the server
// is there.
func (o *op) crawl() error {
	slow := o.s.slow
	if slow.by == 0 || (slow.appName != "" && slow.appName != o.c.appName) {
		return nil
	}
	ctx, cancel := context.WithTimeout(o.ctx, slow.by)
	defer cancel()
	o.s.crawling++
	_ = o.s.await(ctx, func() bool { return o.s.slow != slow })
	o.s.crawling--
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	return nil
}

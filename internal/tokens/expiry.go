package tokens

import (
	"context"
	"time"

	"go.uber.org/zap"
)

const (
	// Notice is how long before its end a token is in the log: a week is enough to
	// replace it.
	Notice = 7 * 24 * time.Hour
	// noticeInterval is the time between two looks for tokens that expire.
	noticeInterval = time.Minute
)

// noticed is an expiry that is in the log already. A changed line has another one.
type noticed struct {
	name    string
	expires time.Time
	over    bool
}

// notice logs each token that has expired or soon will, once for each, until ctx ends.
func (s *Set) notice(ctx context.Context) error {
	ticks := s.config.NoticeTicks
	if ticks == nil {
		ticker := time.NewTicker(noticeInterval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	seen := map[noticed]bool{}
	for {
		s.logExpiries(seen)
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
	}
}

func (s *Set) logExpiries(seen map[noticed]bool) {
	now := s.now()
	for _, e := range *s.entries.Load() {
		if e.expires.IsZero() || now.Before(e.expires.Add(-Notice)) {
			continue
		}
		n := noticed{e.identity.Name, e.expires, e.isExpired(now)}
		if seen[n] {
			continue
		}
		seen[n] = true
		message := "a token expires soon: add another one to the file, give it to its user, and then remove this one"
		if n.over {
			message = "a token has expired and is refused: remove it from the file, or replace it"
		}
		s.config.Logger.Warn(message, zap.String("flag", "--"+s.config.Flag), zap.String("name", n.name), zap.String("expires", e.expires.UTC().Format(time.RFC3339)))
	}
}

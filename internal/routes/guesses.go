package routes

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/lograte"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// firstDelay is hardly noticed by a person who has mistyped a token. It doubles with
	// each wrong token of the same client, up to longestDelay.
	firstDelay, longestDelay = 100 * time.Millisecond, 3 * time.Second
	// forgetAfter: a client without a wrong token for so long begins with firstDelay.
	forgetAfter = 10 * time.Minute
	// maxDelayed bounds the refusals that wait at a time: each holds a connection, and a
	// small limit of open files leaves eight of them. Others are refused immediately.
	maxDelayed = 4
	// maxSources bounds the clients that are remembered.
	maxSources = 1024
)

// guesses delays and logs requests with a wrong admin token. A right token is never
// delayed, so nobody can lock out others. What protects the tokens is their length;
// the delay makes guessing slower, and the log makes it seen.
type guesses struct {
	logger *zap.Logger
	lines  lograte.Limiter
	// waiting are the refusals that wait, of all clients.
	waiting *tokenLimit

	mutex sync.Mutex
	// sources maps a client to its wrong tokens.
	sources map[netip.Prefix]*guesser
}

// guesser is a client that has sent a wrong token.
type guesser struct {
	// next is the delay of its next wrong token.
	next time.Duration
	last time.Time
}

func newGuesses(logger *zap.Logger) *guesses {
	return &guesses{logger: logger, waiting: newTokenLimit(maxDelayed), sources: map[netip.Prefix]*guesser{}}
}

// wrongToken returns when the refusal of a wrong token may be sent.
func (g *guesses) wrongToken(c *gin.Context) {
	now, source := time.Now(), sourceOf(c.Request.RemoteAddr)
	if skipped, ok := g.lines.Allow(now); ok {
		g.logger.Warn("a request has an admin token that is not known or has expired: if it is not a mistake of your own, someone is guessing; allow only your own networks to connect to the admin listener",
			zap.Stringer("client", source), zap.Int("times_since_last_line", skipped+1))
	}
	g.wait(c.Request.Context(), g.note(source, now))
}

// note remembers a wrong token, and returns its delay.
func (g *guesses) note(source netip.Prefix, now time.Time) time.Duration {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	known := g.sources[source]
	if known == nil || now.Sub(known.last) >= forgetAfter {
		g.makeSpaceLocked(now)
		known = &guesser{next: firstDelay}
		g.sources[source] = known
	}
	delay := known.next
	known.next, known.last = min(2*delay, longestDelay), now
	return delay
}

// makeSpaceLocked forgets clients if there are too many: those that may be forgotten,
// or any one.
func (g *guesses) makeSpaceLocked(now time.Time) {
	if len(g.sources) < maxSources {
		return
	}
	var one netip.Prefix
	for source, known := range g.sources {
		if one = source; now.Sub(known.last) >= forgetAfter {
			delete(g.sources, source)
		}
	}
	if len(g.sources) >= maxSources {
		delete(g.sources, one)
	}
}

// wait waits unless too many wait already.
func (g *guesses) wait(ctx context.Context, delay time.Duration) {
	if !g.waiting.take("") {
		return
	}
	defer g.waiting.release("")
	timing.Sleep(ctx, delay)
}

// sourceOf is the network that identifies a client. An address that cannot be read is
// the zero value, so that all of them count as one client.
func sourceOf(remoteAddr string) netip.Prefix {
	peer, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	return managedkey.ClientNetwork(peer.Addr())
}
